"""tiny.add_gradients: the sum of two gradients of the same tensor."""

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


def infer(attrs: Attributes, a: Argument, b: Argument) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(tuple(a.shape), "float32")


def meaning(attrs: Attributes, a: Array, b: Array) -> Array:
    """a + b."""
    with np.errstate(all="ignore"):
        return a + b


def kernel(attrs: Attributes, a: TensorSpec, b: TensorSpec) -> Kernel:
    """One pass over the elements."""
    overlap = overlaps.elements(a, a)
    return runtime_kernel(
        "add_gradients",
        "tiny_add_gradients",
        [("a", a), ("b", b)],
        infer(attrs, a, b),
        [a.elements],
        sources=BACKWARD_SOURCES,
        overlaps=[overlap, overlap],
    )


ADD_GRADIENTS = define(Operator("tiny.add_gradients", Attributes, infer, meaning, kernel))
