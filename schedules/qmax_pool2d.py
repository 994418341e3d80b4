"""tiny.qmax_pool2d: int8 maximum pooling; taps outside the image do not count."""

from __future__ import annotations

from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, numerics, pooling
from tvm_tiny.schedules.dialect import Array, Kernel, Operator, Reaches, TensorSpec, Variant, define
from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes, infer
from tvm_tiny.schedules.window import WindowIndex, patches, reach_of


def meaning(attrs: QPool2DAttributes, data: Array) -> Array:
    """Largest tap inside the image."""
    largest = patches(data, attrs.size, attrs, numerics.INT8_MIN).max(axis=(3, 4))
    return numerics.clamp_int8(largest, attrs.clamp_min, attrs.clamp_max)


def kernel(attrs: QPool2DAttributes, data: TensorSpec) -> Kernel:
    """One output element at a time."""
    batch, height, width, channels = data.shape
    _, out_height, out_width, _ = infer(attrs, data).shape
    window, (pool_height, pool_width) = WindowIndex(attrs, height, width), attrs.size
    low, high, clamp = attrs.clamp_min, attrs.clamp_max, elementwise.clamp

    @T.prim_func(s_tir=True)
    def max_pool2d(
        x: T.Buffer((batch, height, width, channels), "int8"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy, ox, channel in T.grid(batch, out_height, out_width, channels):
            with T.sblock("pool"):
                b, v, h, c = T.axis.remap("SSSS", [n, oy, ox, channel])
                largest = T.sblock_alloc_buffer((1,), "int32")
                largest[0] = -128
                for ky in range(pool_height):
                    if window.row_is_inside(v, ky):
                        for kx in range(pool_width):
                            if window.column_is_inside(h, kx):
                                largest[0] = T.max(
                                    largest[0],
                                    T.Cast(
                                        "int32", x[b, window.row(v, ky), window.column(h, kx), c]
                                    ),
                                )
                y[b, v, h, c] = clamp(largest[0], low, high)

    overlap = pooling.overlap_of(attrs, data, infer(attrs, data), 1)
    return Kernel("max_pool2d", max_pool2d, overlaps=(overlap,))


def word_kernel(attrs: QPool2DAttributes, data: TensorSpec) -> Kernel | None:
    """Four channels at a time."""
    if not pooling.supports(data) or attrs.dilation != (1, 1):
        return None
    output = infer(attrs, data)
    tables = {"pool": pooling.table(attrs, data, output)}
    return pooling.pool_kernel(attrs, "max_pool2d", data, output, "tiny_max_pool", tables)


def reaches(attrs: QPool2DAttributes, data: TensorSpec) -> Reaches:
    """Windows of the image; what lies outside is never the largest."""
    return (reach_of(attrs, attrs.size, numerics.INT8_MIN),)


QMAX_POOL2D = define(
    Operator(
        "tiny.qmax_pool2d",
        QPool2DAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("words", frozenset(), word_kernel),),
        reaches=reaches,
    )
)
