"""Convolutions on cores with DSP instructions: pixels expanded once, channels packed in pairs.

A tile is two output pixels x four output channels. Their input windows are expanded to 16-bit
halves in scratch (borders hold the zero point, which the folded bias cancels), then every tile is
one call of a micro-kernel, see runtime/tvm_tiny_dot.h. A lane of a weight word holds two channels,
256 a + b, so that weights cost no more Flash than int8 while every multiply serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import requantization
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.requantization import Clamp, DspEpilogue

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

PIXELS, CHANNELS = 2, 4  # of a tile
SINGLE_CHANNELS = 8  # of a tile for layers of one pixel
SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_dot.h", "tvm_tiny_dot.c")
WINDOW_FIELDS = 8
FRACTIONS = (0, 7)  # bits of the bias below the sum's unit that the micro-kernels know


def pack_weights(weight: Array, tile: int) -> Array:
    """(channels, window) int8 to words (tile, word, channel pair): lanes hold 256 a + b.

    Words follow the order of SXTB16: elements 0 and 2 of every four, then 1 and 3.
    """
    padded = requantization.pad_channels(weight, tile).astype(np.int64)
    depth = -(-padded.shape[1] // 4) * 4
    padded = np.pad(padded, ((0, 0), (0, depth - padded.shape[1])))
    lanes = 256 * padded[0::2] + padded[1::2]  # (channel pair, depth)
    quads = lanes.reshape(len(lanes), depth // 4, 4)[..., [0, 2, 1, 3]]
    words = (quads[..., 0::2] & 0xFFFF) | (quads[..., 1::2] << 16)
    grouped = words.reshape(-1, tile // 2, depth // 2)  # (tile, channel pair, word)
    return np.ascontiguousarray(grouped.transpose(0, 2, 1)).astype(np.uint32).view(np.int32)


def can_pack(weight: Array) -> bool:
    """Whether lanes hold 256 a + b without overflow, and sums stay below 2^23."""
    flat = requantization.pad_channels(weight.reshape(len(weight), -1), 2).astype(np.int64)
    lanes = 256 * flat[0::2] + flat[1::2]
    fits_lane = lanes.min(initial=0) >= -(1 << 15) and lanes.max(initial=0) < 1 << 15
    largest_sum = np.abs(flat).sum(axis=1).max(initial=0) * 128
    return bool(fits_lane and largest_sum < 1 << 23)


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    epilogue: DspEpilogue,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None where packing is impossible."""
    if attrs.groups != 1 or attrs.fraction_bits not in FRACTIONS or not can_pack(weight):
        return None
    pixels = output.elements // output.shape[3]
    tile = CHANNELS if pixels > 1 else SINGLE_CHANNELS
    depth = -(-weight[0].size // 4) * 4
    is_pointwise = weight.shape[1:3] == (1, 1) and not attrs.is_padded
    reads_pixels = is_pointwise and data.shape[3] % 4 == 0
    make = _single if pixels == 1 else _pointwise if reads_pixels else _windowed
    words = depth // 2 * (1 if pixels == 1 else PIXELS)
    folded = requantization.fold_zero_point(bias, weight, attrs)
    return Kernel(
        "conv2d_1x1" if is_pointwise else "conv2d",
        make(attrs, data, output, depth),
        (
            ("window", window_table(attrs, data, weight)),
            ("weight", pack_weights(weight.reshape(len(weight), -1), tile)),
            ("params", requantization.pad_channels(epilogue.table(folded), tile).astype(np.int32)),
        ),
        # Behind the words lie the window's bytes, where they have to be gathered one by one.
        TensorSpec((words + (0 if data.shape[3] % 4 == 0 else depth // 4),), "int32"),
        SOURCES,
    )


def window_table(attrs: QConv2DAttributes, data: TensorSpec, weight: Array) -> Array:
    """What tiny_expand_window reads: see `enum` in runtime/tvm_tiny_dot.h."""
    _, height, width, channels = data.shape
    _, kernel_height, kernel_width, _ = weight.shape
    geometry = (height, width, channels, kernel_height, kernel_width, *attrs.dilation)
    return np.array([*geometry, attrs.input_zero_point], np.int32)


def _single(
    attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec, depth: int
) -> tirx.PrimFunc:
    """One output pixel, as in dense layers."""
    words, channels, tile = depth // 2, output.shape[3], SINGLE_CHANNELS
    groups, clamp = -(-channels // tile), Clamp(attrs, channels)
    half_up = int(attrs.fraction_bits > 0)
    elements, size = data.elements, words + depth // 4
    top, left = -attrs.padding[0], -attrs.padding[1]

    @T.prim_func(s_tir=True)
    def conv2d_single(
        x: T.Buffer((elements,), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((groups, words, tile // 2), "int32"),
        params: T.Buffer((groups * tile, 4), "int32"),
        scratch: T.Buffer((size,), "int32"),
        y: T.Buffer((channels,), "int8"),
    ):
        T.evaluate(
            call("tiny_expand_window", x[0], window[0], top, left, scratch[0], 1, scratch[words])
        )
        T.evaluate(
            call(
                "tiny_conv_one_pixel",
                scratch[0],
                weight[0, 0, 0],
                words,
                params[0, 0],
                y[0],
                channels,
                half_up,
            )
        )
        T.evaluate(clamp.call(y[0]))

    return conv2d_single


def _pointwise(
    attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec, depth: int
) -> tirx.PrimFunc:
    """1x1 windows of a multiple of four channels are read where they lie."""
    batch, height, width, _ = data.shape
    channels, words = output.shape[3], depth // 2
    index, locate = _PixelIndex(output), _Locate(attrs, output)
    pixels, groups = index.pixels, -(-channels // CHANNELS)
    clamp, half_up = Clamp(attrs, pixels * channels), int(attrs.fraction_bits > 0)

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((batch, height, width, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((groups, words, CHANNELS // 2), "int32"),
        params: T.Buffer((groups * CHANNELS, 4), "int32"),
        scratch: T.Buffer((words * PIXELS,), "int32"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for p in range(index.tiles):
            for i in T.unroll(PIXELS):
                T.evaluate(
                    call(
                        "tiny_expand",
                        x[
                            locate.batch(index.of(p, i)),
                            locate.row(index.of(p, i)),
                            locate.column(index.of(p, i)),
                            0,
                        ],
                        depth,
                        scratch[i],
                        PIXELS,
                    )
                )
            T.evaluate(
                call(
                    "tiny_conv_two_pixels",
                    scratch[0],
                    weight[0, 0, 0],
                    words,
                    params[0, 0],
                    y[index.of(p, 0), 0],
                    y[index.of(p, 1), 0],
                    channels,
                    half_up,
                )
            )
        T.evaluate(clamp.call(y[0, 0]))

    return conv2d_1x1


def _windowed(
    attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec, depth: int
) -> tirx.PrimFunc:
    """Any other window is expanded tap by tap."""
    batch, elements = data.shape[0], data.elements // data.shape[0]
    channels, words = output.shape[3], depth // 2
    index, locate = _PixelIndex(output), _Locate(attrs, output)
    pixels, groups = index.pixels, -(-channels // CHANNELS)
    clamp, half_up = Clamp(attrs, pixels * channels), int(attrs.fraction_bits > 0)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, elements), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((groups, words, CHANNELS // 2), "int32"),
        params: T.Buffer((groups * CHANNELS, 4), "int32"),
        scratch: T.Buffer((words * PIXELS + depth // 4,), "int32"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for p in range(index.tiles):
            for i in T.unroll(PIXELS):
                T.evaluate(
                    call(
                        "tiny_expand_window",
                        x[locate.batch(index.of(p, i)), 0],
                        window[0],
                        locate.row(index.of(p, i)),
                        locate.column(index.of(p, i)),
                        scratch[i],
                        PIXELS,
                        scratch[words * PIXELS],
                    )
                )
            T.evaluate(
                call(
                    "tiny_conv_two_pixels",
                    scratch[0],
                    weight[0, 0, 0],
                    words,
                    params[0, 0],
                    y[index.of(p, 0), 0],
                    y[index.of(p, 1), 0],
                    channels,
                    half_up,
                )
            )
        T.evaluate(clamp.call(y[0, 0]))

    return conv2d


@dataclass(frozen=True)
class _PixelIndex:
    """Output pixels two by two; an odd last one is computed twice."""

    output: TensorSpec

    @property
    def pixels(self) -> int:
        return self.output.elements // self.output.shape[3]

    @property
    def tiles(self) -> int:
        return -(-self.pixels // PIXELS)

    def of(self, tile: tirx.Expr, i: tirx.Expr) -> tirx.Expr:
        pixel = tile * PIXELS + i
        return pixel if self.pixels % PIXELS == 0 else T.min(pixel, self.pixels - 1)


@dataclass(frozen=True)
class _Locate:
    """Where in the input the window of a flat output pixel begins."""

    attrs: QConv2DAttributes
    output: TensorSpec

    def batch(self, pixel: tirx.Expr) -> tirx.Expr:
        return pixel // (self.output.shape[1] * self.output.shape[2])

    def row(self, pixel: tirx.Expr) -> tirx.Expr:
        row = pixel // self.output.shape[2] % self.output.shape[1]
        return row * self.attrs.strides[0] - self.attrs.padding[0]

    def column(self, pixel: tirx.Expr) -> tirx.Expr:
        return pixel % self.output.shape[2] * self.attrs.strides[1] - self.attrs.padding[1]
