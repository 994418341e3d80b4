"""tiny.pad: a constant border around a tensor of up to four axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.microkernel import call


@dataclass(frozen=True)
class PadAttributes(Attributes):
    """Elements before and after each axis, and the value they get."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int


def infer(attrs: PadAttributes, data: TensorSpec) -> TensorSpec:
    """Every extent grown by its border."""
    grown = zip(data.shape, attrs.before, attrs.after, strict=True)
    return TensorSpec(tuple(d + b + a for d, b, a in grown), data.dtype)


def meaning(attrs: PadAttributes, data: Array) -> Array:
    """numpy.pad with a constant."""
    widths = list(zip(attrs.before, attrs.after, strict=True))
    return np.pad(data, widths, constant_values=data.dtype.type(attrs.value))


def kernel(attrs: PadAttributes, data: TensorSpec) -> Kernel:
    """All of the border's value first, where there is a border; then the input's rows as blocks."""
    missing = 4 - len(data.shape)
    d0, d1, d2, d3 = (1,) * missing + data.shape
    b0, b1, b2, b3 = (0,) * missing + attrs.before
    o0, o1, o2, o3 = (1,) * missing + infer(attrs, data).shape
    dtype, value = data.dtype, attrs.value
    row = d3 * np.dtype(dtype).itemsize

    @T.prim_func(s_tir=True)
    def pad(x: T.Buffer((d0, d1, d2, d3), dtype), y: T.Buffer((o0, o1, o2, o3), dtype)):
        for i0, i1, i2, i3 in T.grid(o0, o1, o2, o3):
            with T.sblock("border"):
                v0, v1, v2, v3 = T.axis.remap("SSSS", [i0, i1, i2, i3])
                y[v0, v1, v2, v3] = T.Cast(dtype, value)
        for i0, i1, i2 in T.grid(d0, d1, d2):
            T.evaluate(
                call("tiny_copy_block", y[i0 + b0, i1 + b1, i2 + b2, b3], x[i0, i1, i2, 0], row)
            )

    return Kernel("pad", pad)


PAD = define(Operator("tiny.pad", PadAttributes, infer, meaning, kernel))
