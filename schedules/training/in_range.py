"""tiny.in_range: a bit for each element that a clamp leaves as it is: where gradients pass."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide
from tvm_tiny.schedules.training.truncate import ClampAttributes

BITS = 8


def infer(attrs: ClampAttributes, data: TensorSpec) -> TensorSpec:
    """Bytes for as many bits as there are elements."""
    return TensorSpec((-(-data.elements // BITS),), "uint8")


def meaning(attrs: ClampAttributes, data: Array) -> Array:
    """Bit i % 8 of byte i // 8: clamp_min <= element i <= clamp_max."""
    is_inside = (data >= attrs.clamp_min) & (data <= attrs.clamp_max)
    return np.packbits(is_inside.reshape(-1), bitorder="little")


def kernel(attrs: ClampAttributes, data: TensorSpec) -> Kernel:
    """A call of the runtime."""
    output = infer(attrs, data)
    byte = np.arange(output.elements)
    overlap = overlaps.sweep(byte * BITS * 2, byte + 1, data, output)
    return runtime_kernel(
        "in_range",
        "tiny_in_range",
        [("data", data)],
        output,
        (data.elements, attrs.clamp_min, attrs.clamp_max),
        sources=wide.ELEMENTWISE_SOURCES,
        overlaps=(overlap,),
    )


IN_RANGE = define(Operator("tiny.in_range", ClampAttributes, infer, meaning, kernel))
