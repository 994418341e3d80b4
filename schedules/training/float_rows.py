"""What sums and products of float tensors share: the second operand may be smaller than the first.

It has the first's shape, or that of its last axes, or is one number.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Argument, Attributes, Kernel, TensorSpec
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


def infer(attrs: Attributes, a: TensorSpec, b: Argument) -> TensorSpec:
    """The first's shape, float32."""
    return TensorSpec(a.shape, "float32")


def kernel_of(name: str, function: str, a: TensorSpec, b: Argument) -> Kernel:
    """One pass over the elements, row by row, by a C function."""
    count = int(np.prod(b.shape))
    overlap = overlaps.elements(a, a)
    over_b = [overlap if count == a.elements else None] if isinstance(b, TensorSpec) else []
    return runtime_kernel(
        name,
        function,
        [("a", a), ("b", b)],
        TensorSpec(a.shape, "float32"),
        [a.elements // count, count],
        sources=BACKWARD_SOURCES,
        overlaps=[overlap, *over_b],
    )
