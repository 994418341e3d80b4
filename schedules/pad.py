"""tiny.pad: a constant border around a tensor of up to four axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.concat import COPY
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
    """In the output's order, a row of the input as one block between what is border."""
    inside, before, outside = _rows(attrs, data)
    (d0, d1, d2, d3), (b0, b1, b2, b3), (o0, o1, o2, o3) = inside, before, outside
    dtype, value, behind = data.dtype, attrs.value, b3 + d3
    size = d3 * np.dtype(dtype).itemsize
    copy = COPY[d0 * d1 * d2 == 1]

    def is_inside(*indices: tirx.Expr) -> tirx.Expr:
        found = T.bool(True)
        for index, first, count, total in zip(indices, before, inside, outside, strict=False):
            if count < total:
                found = T.And(found, T.And(index >= first, index < first + count))
        return found

    @T.prim_func(s_tir=True)
    def pad(x: T.Buffer((d0, d1, d2, d3), dtype), y: T.Buffer((o0, o1, o2, o3), dtype)):
        for i0, i1, i2 in T.grid(o0, o1, o2):
            if is_inside(i0, i1, i2):
                for i3 in range(b3):
                    y[i0, i1, i2, i3] = T.Cast(dtype, value)
                T.evaluate(call(copy, y[i0, i1, i2, b3], x[i0 - b0, i1 - b1, i2 - b2, 0], size))
                for i3 in range(o3 - behind):
                    y[i0, i1, i2, behind + i3] = T.Cast(dtype, value)
            else:
                for i3 in range(o3):
                    y[i0, i1, i2, i3] = T.Cast(dtype, value)

    grid = np.arange(o0 * o1 * o2).reshape(o0, o1, o2)
    rows = grid[b0 : b0 + d0, b1 : b1 + d1, b2 : b2 + d2].reshape(-1)
    starts = (rows * o3 + b3) * np.dtype(dtype).itemsize
    return Kernel("pad", pad, overlaps=(overlaps.blocks(data, infer(attrs, data), starts),))


def _rows(attrs: PadAttributes, data: TensorSpec) -> tuple[tuple[int, ...], ...]:
    """Extents inside, before and of all along four axes; the last one with a border is a row."""
    axes = list(zip(data.shape, attrs.before, infer(attrs, data).shape, strict=True))
    bordered = [axis for axis, (inside, _, outside) in enumerate(axes) if inside < outside]
    last = bordered[-1] if bordered else 0
    run = int(np.prod(data.shape[last + 1 :]))
    leading = [(1, 0, 1)] * (3 - last) + axes[:last]
    row = tuple(extent * run for extent in axes[last])
    return tuple(zip(*leading, row, strict=True))


PAD = define(Operator("tiny.pad", PadAttributes, infer, meaning, kernel))
