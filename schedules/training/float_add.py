"""tiny.float_add: a float tensor plus another of its shape, of its last axes, or one number."""

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
from tvm_tiny.schedules.training import add_gradients
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


def infer(attrs: Attributes, a: TensorSpec, b: Argument) -> TensorSpec:
    """The first's shape, float32."""
    return TensorSpec(a.shape, "float32")


def meaning(attrs: Attributes, a: Array, b: Array) -> Array:
    """a + b."""
    with np.errstate(all="ignore"):
        return a + b


def kernel(attrs: Attributes, a: TensorSpec, b: Argument) -> Kernel:
    """As two gradients are added, or row by row."""
    count = int(np.prod(b.shape))
    if isinstance(b, TensorSpec) and count == a.elements:
        return add_gradients.kernel(attrs, a, b)
    over_b = [None] if isinstance(b, TensorSpec) else []
    return runtime_kernel(
        "float_add",
        "tiny_add_rows",
        [("a", a), ("b", b)],
        infer(attrs, a, b),
        [a.elements // count, count],
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(a, a), *over_b],
    )


FLOAT_ADD = define(Operator("tiny.float_add", Attributes, infer, meaning, kernel))
