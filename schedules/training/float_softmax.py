"""tiny.float_softmax: probabilities of floats, along the last axis."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import FLOAT_SOURCES


def infer(attrs: Attributes, data: TensorSpec) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(data.shape, "float32")


def meaning(attrs: Attributes, data: Array) -> Array:
    """exp(x) over the sum of all."""
    powers = np.exp(data.astype(np.float64) - data.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def kernel(attrs: Attributes, data: TensorSpec) -> Kernel:
    """Row by row."""
    columns = data.shape[-1]
    return runtime_kernel(
        "float_softmax",
        "tiny_float_softmax",
        [("data", data)],
        infer(attrs, data),
        [data.elements // columns, columns],
        sources=FLOAT_SOURCES,
    )


FLOAT_SOFTMAX = define(Operator("tiny.float_softmax", Attributes, infer, meaning, kernel))
