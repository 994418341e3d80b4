"""tiny.resize: nearest-neighbour upsampling of NHWC by whole factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.microkernel import call


@dataclass(frozen=True)
class ResizeAttributes(Attributes):
    """Factors (height, width); output pixel (y, x) is input pixel (y // fh, x // fw)."""

    factors: tuple[int, int]


def infer(attrs: ResizeAttributes, data: TensorSpec) -> TensorSpec:
    """Height and width multiplied."""
    batch, height, width, channels = data.shape
    size = (height * attrs.factors[0], width * attrs.factors[1])
    return TensorSpec((batch, *size, channels), data.dtype)


def meaning(attrs: ResizeAttributes, data: Array) -> Array:
    """numpy.repeat along height and width."""
    return data.repeat(attrs.factors[0], axis=1).repeat(attrs.factors[1], axis=2)


def kernel(attrs: ResizeAttributes, data: TensorSpec) -> Kernel:
    """Pixels as blocks of all channels; a row again for each of its copies."""
    batch, height, width, channels = data.shape
    _, out_height, out_width, _ = infer(attrs, data).shape
    (rows, columns), dtype = attrs.factors, data.dtype
    pixel = channels * np.dtype(dtype).itemsize

    @T.prim_func(s_tir=True)
    def resize(
        x: T.Buffer((batch, height, width, channels), dtype),
        y: T.Buffer((batch, out_height, out_width, channels), dtype),
    ):
        for n, oy, ox in T.grid(batch, out_height, out_width):
            T.evaluate(
                call("tiny_copy_block", y[n, oy, ox, 0], x[n, oy // rows, ox // columns, 0], pixel)
            )

    starts = np.arange(0, data.nbytes, pixel).reshape(data.shape[:3])
    sources = starts.repeat(rows, axis=1).repeat(columns, axis=2).reshape(-1)
    output, one_by_one = infer(attrs, data), np.arange(len(sources))[:, None]
    overlap = overlaps.tiles(sources, one_by_one, data, output, last=1, skipped=pixel - 1)
    return Kernel("resize", resize, overlaps=(overlap,))


RESIZE = define(Operator("tiny.resize", ResizeAttributes, infer, meaning, kernel))
