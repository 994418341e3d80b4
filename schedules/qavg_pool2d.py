"""tiny.qavg_pool2d: int8 average pooling; taps outside the image do not count.

Meaning as in TensorFlow Lite's reference_integer_ops::AveragePool: the sum of raw values divided
by the number of taps, halves away from zero. Scale and zero point do not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, numerics, pooling
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    Reaches,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.window import WindowAttributes, WindowIndex, patches, reach_of


@dataclass(frozen=True)
class QPool2DAttributes(WindowAttributes, Attributes):
    """Window, its size (height, width), and the output's clamp."""

    size: tuple[int, int]
    clamp_min: int
    clamp_max: int


def infer(attrs: QPool2DAttributes, data: TensorSpec) -> TensorSpec:
    """(batch, out height, out width, channels) int8."""
    size = attrs.output_size((data.shape[1], data.shape[2]), attrs.size)
    return TensorSpec((data.shape[0], *size, data.shape[3]), "int8")


def meaning(attrs: QPool2DAttributes, data: Array) -> Array:
    """Rounded mean of the taps inside the image."""
    inside = np.ones((1, *data.shape[1:3], 1), np.int64)
    count = patches(inside, attrs.size, attrs, 0).sum(axis=(3, 4))
    total = patches(data.astype(np.int64), attrs.size, attrs, 0).sum(axis=(3, 4))
    magnitude = (np.abs(total) + count // 2) // count
    return numerics.clamp_int8(np.sign(total) * magnitude, attrs.clamp_min, attrs.clamp_max)


def kernel(attrs: QPool2DAttributes, data: TensorSpec) -> Kernel:
    """One output element at a time; the count is a constant unless windows cross the border."""
    batch, height, width, channels = data.shape
    _, out_height, out_width, _ = infer(attrs, data).shape
    window, (pool_height, pool_width) = WindowIndex(attrs, height, width), attrs.size
    low, high, clamp = attrs.clamp_min, attrs.clamp_max, elementwise.clamp
    taps = pool_height * pool_width
    padded = attrs.is_padded

    @T.prim_func(s_tir=True)
    def avg_pool2d(
        x: T.Buffer((batch, height, width, channels), "int8"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy, ox, channel in T.grid(batch, out_height, out_width, channels):
            with T.sblock("pool"):
                b, v, h, c = T.axis.remap("SSSS", [n, oy, ox, channel])
                total = T.sblock_alloc_buffer((1,), "int32")
                count = T.sblock_alloc_buffer((1,), "int32")
                total[0] = 0
                count[0] = T.if_then_else(padded, 0, taps)
                for ky in range(pool_height):
                    if window.row_is_inside(v, ky):
                        for kx in range(pool_width):
                            if window.column_is_inside(h, kx):
                                total[0] = total[0] + T.Cast(
                                    "int32", x[b, window.row(v, ky), window.column(h, kx), c]
                                )
                                if padded:
                                    count[0] = count[0] + 1
                y[b, v, h, c] = clamp(
                    T.call_extern("int32", "tiny_round_divide", total[0], count[0]), low, high
                )

    overlap = pooling.overlap_of(attrs, data, infer(attrs, data), 1)
    return Kernel("avg_pool2d", avg_pool2d, overlaps=(overlap,))


def word_kernel(attrs: QPool2DAttributes, data: TensorSpec) -> Kernel | None:
    """Four channels at a time, and no division."""
    taps = attrs.size[0] * attrs.size[1]
    is_clamped = (attrs.clamp_min, attrs.clamp_max) != (numerics.INT8_MIN, numerics.INT8_MAX)
    is_possible = pooling.supports(data) and taps <= pooling.LARGEST_COUNT and not is_clamped
    if not is_possible or attrs.dilation != (1, 1):
        return None
    output = infer(attrs, data)
    tables = {"pool": pooling.table(attrs, data, output), "reciprocals": pooling.reciprocals(taps)}
    return pooling.pool_kernel(attrs, "avg_pool2d", data, output, "tiny_average_pool", tables)


def reaches(attrs: QPool2DAttributes, data: TensorSpec) -> Reaches | None:
    """Windows of the image; not over its border, where they count fewer elements."""
    return None if attrs.is_padded else (reach_of(attrs, attrs.size, 0),)


QAVG_POOL2D = define(
    Operator(
        "tiny.qavg_pool2d",
        QPool2DAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("words", frozenset(), word_kernel),),
        reaches=reaches,
    )
)
