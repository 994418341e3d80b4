"""tiny.quantize: float32 to int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define


@dataclass(frozen=True)
class QuantizeAttributes(Attributes):
    """q = round(x / scale) + zero_point, clamped."""

    scale: float
    zero_point: int


def infer(attrs: QuantizeAttributes, data: TensorSpec) -> TensorSpec:
    """Same shape, int8."""
    return TensorSpec(data.shape, "int8")


def meaning(attrs: QuantizeAttributes, data: Array) -> Array:
    """Affine quantisation in float32, halves away from zero, saturating."""
    scaled = data.astype(np.float32) / np.float32(attrs.scale)
    bounded = np.clip(numerics.round_half_away(scaled), -1024, 1024)
    return numerics.clamp_int8(bounded.astype(np.int64) + attrs.zero_point)


def kernel(attrs: QuantizeAttributes, data: TensorSpec) -> Kernel:
    """One pass over the elements."""
    n, scale, zero_point = data.elements, attrs.scale, attrs.zero_point

    @T.prim_func(s_tir=True)
    def quantize(x: T.Buffer((n,), "float32"), y: T.Buffer((n,), "int8")):
        for i in range(n):
            with T.sblock("quantize"):
                v = T.axis.spatial(n, i)
                y[v] = T.Cast(
                    "int8",
                    T.call_extern("int32", "tiny_quantize", x[v], T.float32(scale), zero_point),
                )

    return Kernel("quantize", quantize)


QUANTIZE = define(Operator("tiny.quantize", QuantizeAttributes, infer, meaning, kernel))
