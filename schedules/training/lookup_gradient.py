"""tiny.lookup_gradient: the gradient of any function of one int8 value, from a table of slopes."""

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


def infer(attrs: Attributes, gradient: Argument, data: Argument, table: Argument) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(tuple(gradient.shape), "float32")


def meaning(attrs: Attributes, gradient: Array, data: Array, table: Array) -> Array:
    """gradient * table[data + 128]."""
    with np.errstate(all="ignore"):
        return gradient * table.astype(np.float32)[data.astype(np.int64) + 128]


def kernel(attrs: Attributes, gradient: TensorSpec, data: TensorSpec, table: Array) -> Kernel:
    """One pass over the elements."""
    return runtime_kernel(
        "lookup_gradient",
        "tiny_lookup_gradient",
        [("gradient", gradient), ("data", data), ("table", table.astype(np.float32))],
        infer(attrs, gradient, data, table),
        [gradient.elements],
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(gradient, gradient), None],
    )


LOOKUP_GRADIENT = define(Operator("tiny.lookup_gradient", Attributes, infer, meaning, kernel))
