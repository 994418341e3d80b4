"""tiny.dequantize: int8 to float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, overlaps
from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define


@dataclass(frozen=True)
class DequantizeAttributes(Attributes):
    """x = scale * (q - zero_point)."""

    scale: float
    zero_point: int


def infer(attrs: DequantizeAttributes, data: TensorSpec) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(data.shape, "float32")


def meaning(attrs: DequantizeAttributes, data: Array) -> Array:
    """The product is exact before its one rounding, so float32 gives the reference's bits."""
    return np.float32(attrs.scale) * (data.astype(np.int32) - attrs.zero_point).astype(np.float32)


def kernel(attrs: DequantizeAttributes, data: TensorSpec) -> Kernel:
    """One pass over the elements."""
    n, scale, zero_point = data.elements, attrs.scale, attrs.zero_point

    @T.prim_func(s_tir=True)
    def dequantize(x: T.Buffer((n,), "int8"), y: T.Buffer((n,), "float32")):
        for i in range(n):
            with T.sblock("dequantize"):
                v = T.axis.spatial(n, i)
                y[v] = T.Cast("float32", T.Cast("int32", x[v]) - zero_point) * T.float32(scale)

    overlap = overlaps.elements(data, infer(attrs, data))
    return Kernel("dequantize", dequantize, overlaps=(overlap,))


DEQUANTIZE = define(
    Operator(
        "tiny.dequantize",
        DequantizeAttributes,
        infer,
        meaning,
        kernel,
        reaches=elementwise.reaches,
    )
)
