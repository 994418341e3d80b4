"""Convolutions on cores with DSP instructions, weights as pairs of 16-bit halves.

A tile of up to four output pixels is expanded once to words of two halves, then meets all output
channels, two at a time (pair_tiles.py). Weights take two bytes each: the inner loop does not unpack
anything, and each channel's shift goes into its weights (scaling.py). Tiles at the border read a
copy of their part of the image, filled up with the zero point, which the folded bias cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import requantization, scaling
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.pair_tiles import CHANNELS, PIXELS, tile_microkernel
from tvm_tiny.schedules.pair_windows import Window, expand_microkernel
from tvm_tiny.schedules.requantization import Clamp

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.c", "tvm_tiny_pairs.h")
PATCH_FIELDS = 7
LARGEST_OFFSET = 4095  # of a store or load from its base register


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None where its arithmetic does not fit."""
    folded = requantization.fold_zero_point(bias, weight, attrs)
    flat = weight.reshape(len(weight), -1)
    reach = requantization.reach(flat, folded, attrs)
    layer = scaling.Layer(attrs, flat, folded, reach, multiplier, -shift)
    form = scaling.choose(layer)
    geometry = _Geometry(attrs, data, output, weight.shape[1:])
    if form is None or not geometry.is_reachable:
        return None
    make = _pointwise if geometry.is_pointwise else _windowed
    function, microkernels = make(geometry, form)
    patch = () if geometry.is_pointwise else (("patch_table", geometry.patch_table()),)
    return Kernel(
        "conv2d_1x1" if geometry.is_pointwise else "conv2d",
        function,
        (*patch, ("stream", pack_stream(layer, form, geometry.window.order()))),
        TensorSpec((geometry.words + geometry.patch_words,), "int32"),
        SOURCES,
        tuple(microkernels),
    )


def pack_stream(layer: scaling.Layer, form: scaling.Scaling, order: Array) -> Array:
    """What a tile reads, two channels at a time: see runtime/tvm_tiny_pairs.h."""
    scaled = layer.weight.astype(np.int64) << form.scale[:, None]
    halves = np.where(order < 0, 0, scaled[:, order])  # (channels, pairs, 2)
    words = (halves[..., 0] & 0xFFFF) | ((halves[..., 1] & 0xFFFF) << 16)
    bias = layer.bias.astype(np.int64) << form.bias_scale
    columns = np.stack(form.columns, axis=1)
    bias, words, columns = (
        requantization.pad_channels(values, CHANNELS) for values in (bias, words, columns)
    )
    groups = len(bias) // CHANNELS
    by_pair = words.reshape(groups, CHANNELS, -1).swapaxes(1, 2)
    parts = [part.reshape(groups, -1) for part in (bias, by_pair, columns)]
    stream = np.concatenate(parts, axis=1)
    return (stream.reshape(-1) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


@dataclass(frozen=True)
class _Geometry:
    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    kernel: tuple[int, int, int]  # height, width, input channels

    @property
    def is_pointwise(self) -> bool:
        """Whether windows are pixels that follow each other in memory."""
        plain = self.kernel[:2] == (1, 1) and self.attrs.strides == (1, 1)
        return plain and not self.attrs.is_padded

    @property
    def window(self) -> Window:
        """Taps of a row are one run unless dilation keeps them apart."""
        height, width, depth = self.kernel
        step = self.attrs.strides[1] * depth
        if self.attrs.dilation[1] == 1:
            return Window(height, 1, width * depth, 0, step)
        return Window(height, width, depth, self.attrs.dilation[1] * depth, step)

    @property
    def is_reachable(self) -> bool:
        """Whether offsets within a tile fit their instructions."""
        window, channels = self.window, self.output.shape[3]
        reads = (window.runs - 1) * window.run_step + (PIXELS - 1) * window.pixel_step
        reads += min(window.length, 40)
        pixels = min(PIXELS, self.output.elements // channels)
        return reads <= LARGEST_OFFSET and (pixels - 1) * channels < LARGEST_OFFSET - 1

    @property
    def words(self) -> int:
        """Of a tile's expanded windows."""
        return self.window.pairs * self.largest_tile

    @property
    def largest_tile(self) -> int:
        """Pixels of the largest tile."""
        return min(PIXELS, self.pixels if self.is_pointwise else self.output.shape[2])

    @property
    def pixels(self) -> int:
        """Of the output, all batches together."""
        return self.output.elements // self.output.shape[3]

    def patch_columns(self, pixels: int) -> int:
        """Columns of the image that a tile covers."""
        reach = (self.kernel[1] - 1) * self.attrs.dilation[1] + 1
        return (pixels - 1) * self.attrs.strides[1] + reach

    @property
    def patch_words(self) -> int:
        """Words that hold the copy for a tile at the border; none where there is no border."""
        if self.is_pointwise or not self.attrs.is_padded:
            return 0
        height, _, depth = self.kernel
        return -(-height * self.patch_columns(self.largest_tile) * depth // 4)

    def patch_table(self) -> Array:
        """See runtime/tvm_tiny_pairs.h; every tile copies as many columns as the largest."""
        _, height, width, channels = self.data.shape
        columns = self.patch_columns(self.largest_tile)
        rows = (self.kernel[0], self.attrs.dilation[0])
        zero_point = self.attrs.input_zero_point
        return np.array([height, width, channels, *rows, columns, zero_point], np.int32)


class _Tiles:
    """The two micro-kernels of tiles of so many pixels."""

    def __init__(self, geometry: _Geometry, form: scaling.Scaling, pixels: int) -> None:
        pairs, channels = geometry.window.pairs, geometry.output.shape[3]
        self.pixels = pixels
        self.expand = expand_microkernel(geometry.window, pixels)
        self.multiply = tile_microkernel(pairs, pixels, channels, form)

    @staticmethod
    def of_row(geometry: _Geometry, form: scaling.Scaling, length: int) -> tuple[_Tiles, _Tiles]:
        """Tiles for most of a row, and for the rest of it; the same where one is not needed."""
        whole, rest = divmod(length, PIXELS)
        return (
            _Tiles(geometry, form, PIXELS if whole else rest),
            _Tiles(geometry, form, rest or PIXELS),
        )


@dataclass(frozen=True)
class _Place:
    """Where in the image the windows of a tile begin, and whether they lie inside it."""

    geometry: _Geometry

    def row(self, output_row: tirx.Expr) -> tirx.Expr:
        attrs = self.geometry.attrs
        return output_row * attrs.strides[0] - attrs.padding[0]

    def column(self, output_column: tirx.Expr) -> tirx.Expr:
        attrs = self.geometry.attrs
        return output_column * attrs.strides[1] - attrs.padding[1]

    def offset(self, output_row: tirx.Expr, output_column: tirx.Expr) -> tirx.Expr:
        _, _, width, depth = self.geometry.data.shape
        return (self.row(output_row) * width + self.column(output_column)) * depth

    def is_inside(self, output_row: tirx.Expr, output_column: tirx.Expr, pixels: int) -> tirx.Expr:
        geometry, attrs = self.geometry, self.geometry.attrs
        if not attrs.is_padded:
            return T.bool(True)
        row, column = self.row(output_row), self.column(output_column)
        last_row = geometry.data.shape[1] - ((geometry.kernel[0] - 1) * attrs.dilation[0] + 1)
        last_column = geometry.data.shape[2] - geometry.patch_columns(pixels)
        is_row = T.And(row >= 0, row <= last_row)
        return T.And(is_row, T.And(column >= 0, column <= last_column))


def _pointwise(
    geometry: _Geometry, form: scaling.Scaling
) -> tuple[tirx.PrimFunc, list[MicroKernel]]:
    """Pixels four by four, as if they were one row."""
    depth, channels = geometry.kernel[2], geometry.output.shape[3]
    pixels, words = geometry.pixels, geometry.words
    whole, rest = divmod(pixels, PIXELS)
    size = stream_length(geometry.window.pairs, channels, form)
    many, few = _Tiles.of_row(geometry, form, pixels)
    last, clamp = whole * PIXELS, Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels * depth,), "int8"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((pixels * channels,), "int8"),
    ):
        if whole > 0:
            for tile in range(whole):
                T.evaluate(call(many.expand.name, x[tile * PIXELS * depth], 0, scratch[0]))
                T.evaluate(
                    call(many.multiply.name, scratch[0], stream[0], y[tile * PIXELS * channels])
                )
        if rest > 0:
            T.evaluate(call(few.expand.name, x[last * depth], 0, scratch[0]))
            T.evaluate(call(few.multiply.name, scratch[0], stream[0], y[last * channels]))
        T.evaluate(clamp.call(y[0]))

    return conv2d_1x1, [f for tile in (many, few) for f in (tile.expand, tile.multiply)]


def _windowed(
    geometry: _Geometry, form: scaling.Scaling
) -> tuple[tirx.PrimFunc, list[MicroKernel]]:
    """Rows of the output, tile by tile; the last tile of a row has what is left."""
    batch, height, width, depth = geometry.data.shape
    _, out_height, out_width, channels = geometry.output.shape
    whole, rest = divmod(out_width, PIXELS)
    words, size = geometry.words, stream_length(geometry.window.pairs, channels, form)
    scratch_words = words + geometry.patch_words
    many, few = _Tiles.of_row(geometry, form, out_width)
    place, last = _Place(geometry), whole * PIXELS
    pitch = width * depth * geometry.attrs.dilation[0]
    patch_pitch = geometry.patch_columns(geometry.largest_tile) * depth
    image, clamp = height * width * depth, Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, image), "int8"),
        patch_table: T.Buffer((PATCH_FIELDS,), "int32"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((scratch_words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy in T.grid(batch, out_height):
            if whole > 0:
                for tile in range(whole):
                    if place.is_inside(oy, tile * PIXELS, many.pixels):
                        T.evaluate(
                            call(
                                many.expand.name,
                                x[n, place.offset(oy, tile * PIXELS)],
                                pitch,
                                scratch[0],
                            )
                        )
                    else:
                        T.evaluate(
                            call(
                                "tiny_copy_patch",
                                x[n, 0],
                                patch_table[0],
                                place.row(oy),
                                place.column(tile * PIXELS),
                                scratch[words],
                            )
                        )
                        T.evaluate(call(many.expand.name, scratch[words], patch_pitch, scratch[0]))
                    T.evaluate(
                        call(many.multiply.name, scratch[0], stream[0], y[n, oy, tile * PIXELS, 0])
                    )
            if rest > 0:
                if place.is_inside(oy, last, few.pixels):
                    T.evaluate(
                        call(few.expand.name, x[n, place.offset(oy, last)], pitch, scratch[0])
                    )
                else:
                    T.evaluate(
                        call(
                            "tiny_copy_patch",
                            x[n, 0],
                            patch_table[0],
                            place.row(oy),
                            place.column(last),
                            scratch[words],
                        )
                    )
                    T.evaluate(call(few.expand.name, scratch[words], patch_pitch, scratch[0]))
                T.evaluate(call(few.multiply.name, scratch[0], stream[0], y[n, oy, last, 0]))
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d, [f for tile in (many, few) for f in (tile.expand, tile.multiply)]


def stream_length(pairs: int, channels: int, form: scaling.Scaling) -> int:
    """Words of pack_stream."""
    return -(-channels // CHANNELS) * CHANNELS * (1 + pairs + len(form.columns))
