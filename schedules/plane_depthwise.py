"""Depthwise convolutions on cores with DSP instructions, channel by channel.

Each channel is gathered from NHWC into a plane in scratch whose border holds the zero point (which
the folded bias cancels), convolved there with the channel's weights and parameters in registers,
and written back in place of its bytes: no layout change is needed on either side. The loops are in
runtime/tvm_tiny_depthwise.c; here are their tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps, requantization
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.requantization import DspEpilogue

if TYPE_CHECKING:
    from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes

SIZES, STRIDES = (3, 5, 7), (1, 2)
MAX_LEFT_SHIFT = 7  # of doubled weights, which then still fit a half
SLACK = 8  # bytes behind the plane that whole-word loads may read
LAYER_FIELDS = 13
SOURCES = (
    "tvm_tiny_dsp.h",
    "tvm_tiny_depthwise.h",
    "tvm_tiny_depthwise.c",
)
# Positions of a row's taps in the halves of its words; None is zero.
PACKING: dict[int, tuple[tuple[int, int | None], ...]] = {
    3: ((0, 2), (1, None)),
    5: ((0, 2), (1, 3), (4, None)),
    7: ((0, 2), (1, 3), (4, 6), (5, None)),
}


def supports(attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Array) -> bool:
    """Square kernels of 3, 5 and 7 at strides 1 and 2, one output channel for each input."""
    height, width, channels = weight.shape
    is_square = height == width and attrs.strides[0] == attrs.strides[1]
    is_plain = attrs.dilation == (1, 1) and channels == data.shape[3]
    is_plain = is_plain and attrs.fraction_bits <= MAX_LEFT_SHIFT
    return is_square and is_plain and height in SIZES and attrs.strides[0] in STRIDES


def plane_shape(
    attrs: QDepthwiseConv2DAttributes, output: TensorSpec, size: int
) -> tuple[int, int]:
    """(rows, bytes of a row): what the windows of a whole number of tiles can reach."""
    stride = attrs.strides[0]
    tile = 2 if size == 3 and stride == 1 else 1
    rows, columns = (-(-extent // tile) * tile for extent in output.shape[1:3])
    return tuple(max((n - 1) * stride + size, 1) for n in (rows, columns))  # type: ignore[return-value]


def channel_table(weight: Array, bias: Array, epilogue: DspEpilogue) -> Array:
    """Rows of tiny_depthwise's channel table: parameters, then doubled weights in halves."""
    size, _, channels = weight.shape
    doubled = (2 * weight.astype(np.int64)) << (epilogue.left + epilogue.attrs.fraction_bits)
    zero = np.zeros((size, channels), np.int64)
    words = [
        (doubled[:, low] & 0xFFFF) | ((zero if high is None else doubled[:, high]) << 16)
        for low, high in PACKING[size]
    ]
    taps = np.stack(words, axis=1).reshape(-1, channels).T  # (channels, row, word)
    columns = np.concatenate([epilogue.table(bias), taps], axis=1)
    return (columns & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    epilogue: DspEpilogue,
) -> Kernel | None:
    """The kernel, or None for windows that the runtime has no loop for."""
    if not supports(attrs, data, weight):
        return None
    size, stride, channels = weight.shape[0], attrs.strides[0], data.shape[3]
    rows, pitch = plane_shape(attrs, output, size)
    rows = max(rows, attrs.padding[0] + data.shape[1])
    pitch = max(pitch, attrs.padding[1] + data.shape[2])
    folded = requantization.fold_zero_point(bias, np.moveaxis(weight, -1, 0), attrs)
    table = channel_table(weight, folded, epilogue)
    layer = np.array(
        [
            *data.shape[1:4],
            *attrs.padding[:2],
            rows,
            pitch,
            attrs.input_zero_point,
            *output.shape[1:3],
            attrs.clamp_min,
            attrs.clamp_max,
            int(attrs.fraction_bits > 0),
        ],
        np.int32,
    )
    plane_bytes = rows * pitch + SLACK
    batch, in_image, out_image = data.shape[0], data.elements // data.shape[0], output.elements
    out_image //= batch
    fields, function = table.shape[1], f"tiny_depthwise_{size}x{size}_s{stride}"

    @T.prim_func(s_tir=True)
    def depthwise_conv2d(
        x: T.Buffer((batch, in_image), "int8"),
        layer: T.Buffer((LAYER_FIELDS,), "int32"),
        table: T.Buffer((channels, fields), "int32"),
        scratch: T.Buffer((plane_bytes,), "int8"),
        y: T.Buffer((batch, out_image), "int8"),
    ):
        T.evaluate(call("tiny_plane_fill", layer[0], scratch[0]))
        for n, c in T.grid(batch, channels):
            T.evaluate(call("tiny_plane_gather", layer[0], x[n, c], scratch[0]))
            T.evaluate(call(function, layer[0], table[c, 0], scratch[0], y[n, c]))

    return Kernel(
        "depthwise_conv2d",
        depthwise_conv2d,
        (("layer", layer), ("table", table)),
        TensorSpec((plane_bytes,), "int8"),
        SOURCES,
        overlaps=(overlaps.by_channel(data, output),),
    )
