"""tiny.float_mul: a float tensor times another of its shape, of its last axes, or of one number.

Gradients are products too: that of either factor by the other.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


def infer(attrs: Attributes, a: TensorSpec, b: Argument) -> TensorSpec:
    """The first's shape, float32."""
    return TensorSpec(a.shape, "float32")


def meaning(attrs: Attributes, a: Array, b: Array) -> Array:
    """a * b."""
    with np.errstate(all="ignore"):
        return a * b


def kernel(attrs: Attributes, a: TensorSpec, b: Argument) -> Kernel:
    """One pass over the elements, as gradients are scaled: by a scale for each, or each channel."""
    count = int(np.prod(b.shape))
    overlap = overlaps.elements(a, a)
    over_b = [overlap if count == a.elements else None] if isinstance(b, TensorSpec) else []
    return runtime_kernel(
        "float_mul",
        "tiny_scale_gradient",
        [("a", a), ("b", b)],
        infer(attrs, a, b),
        [a.elements // count, count],
        sources=BACKWARD_SOURCES,
        overlaps=[overlap, *over_b],
    )


FLOAT_MUL = define(Operator("tiny.float_mul", Attributes, infer, meaning, kernel))
