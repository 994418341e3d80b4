"""tiny.transpose: axes in another order (up to four)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define


@dataclass(frozen=True)
class TransposeAttributes(Attributes):
    """Output axis i is input axis axes[i]."""

    axes: tuple[int, ...]


def infer(attrs: TransposeAttributes, data: TensorSpec) -> TensorSpec:
    """Extents in the new order."""
    return TensorSpec(tuple(data.shape[axis] for axis in attrs.axes), data.dtype)


def meaning(attrs: TransposeAttributes, data: Array) -> Array:
    """numpy.transpose."""
    return np.ascontiguousarray(data.transpose(attrs.axes))


def moves_data(attrs: TransposeAttributes, data: TensorSpec) -> bool:
    """Whether the order of bytes changes: not when only axes of extent one move."""
    order = [axis for axis in attrs.axes if data.shape[axis] > 1]
    return order != sorted(order)


def kernel(attrs: TransposeAttributes, data: TensorSpec) -> Kernel:
    """One output element at a time, in the output's order."""
    missing = 4 - len(data.shape)
    o0, o1, o2, o3 = (1,) * missing + infer(attrs, data).shape
    shape = (1,) * missing + data.shape
    axes = (*range(missing), *(axis + missing for axis in attrs.axes))
    strides = [int(np.prod(shape[axis + 1 :])) for axis in axes]
    elements, dtype = data.elements, data.dtype

    def source(*indices: tirx.Expr) -> tirx.Expr:
        return sum((i * s for i, s in zip(indices, strides, strict=True)), T.int32(0))

    @T.prim_func(s_tir=True)
    def transpose(x: T.Buffer((elements,), dtype), y: T.Buffer((o0, o1, o2, o3), dtype)):
        for i0, i1, i2, i3 in T.grid(o0, o1, o2, o3):
            with T.sblock("transpose"):
                v0, v1, v2, v3 = T.axis.remap("SSSS", [i0, i1, i2, i3])
                y[v0, v1, v2, v3] = x[source(v0, v1, v2, v3)]

    sources = np.arange(elements).reshape(data.shape).transpose(attrs.axes).reshape(-1)
    overlap = overlaps.elements(data, infer(attrs, data), sources)
    return Kernel("transpose", transpose, overlaps=(overlap,))


TRANSPOSE = define(Operator("tiny.transpose", TransposeAttributes, infer, meaning, kernel))
