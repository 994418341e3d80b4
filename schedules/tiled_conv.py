"""Convolutions tile by tile on cores with DSP instructions: the loops around the micro-kernels.

A tile of up to four output pixels is expanded once to words of two halves (pair_windows.py), then
meets all output channels in one call. Tiles at the border read a copy of their part of the image,
filled up with the zero point, which the folded bias cancels. How weights lie in memory is up to
pair_conv.py and packed_conv.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.pair_windows import Window, expand_microkernel
from tvm_tiny.schedules.requantization import Clamp

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

PIXELS = 4  # of a tile
SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.c", "tvm_tiny_pairs.h")
PATCH_FIELDS = 7
LARGEST_OFFSET = 4095  # of a store or load from its base register

# The micro-kernel that multiplies tiles of so many pixels.
Multiply = Callable[[int], MicroKernel]


def kernel(geometry: Geometry, stream: Array, multiply: Multiply) -> Kernel:
    """The kernel whose tiles read `stream` (groups, words): weights and parameters of channels."""
    make = _pointwise if geometry.is_pointwise else _windowed
    patch = () if geometry.is_pointwise else (("patch_table", geometry.patch_table()),)
    many, few = _Tiles.of_row(geometry, multiply)
    return Kernel(
        "conv2d_1x1" if geometry.is_pointwise else "conv2d",
        make(geometry, stream.shape[1], many, few),
        (*patch, ("stream", stream)),
        TensorSpec((geometry.words + geometry.patch_words,), "int32"),
        SOURCES,
        tuple(function for tile in (many, few) for function in (tile.expand, tile.multiply)),
    )


@dataclass(frozen=True)
class Geometry:
    """Where windows lie in the image, and tiles of them."""

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    kernel: tuple[int, int, int]  # height, width, input channels of a group

    @property
    def is_pointwise(self) -> bool:
        """Whether windows are pixels that follow each other in memory."""
        plain = self.kernel[:2] == (1, 1) and self.attrs.strides == (1, 1)
        return plain and not self.attrs.is_padded and self.attrs.groups == 1

    @property
    def channels_of_group(self) -> int:
        """Output channels that see the same input channels."""
        return self.output.shape[3] // self.attrs.groups

    def by_group(self, values: tuple[Array, ...]) -> list[tuple[Array, ...]]:
        """Values of all channels, group by group."""
        size = self.channels_of_group
        starts = range(0, self.output.shape[3], size)
        return [tuple(value[start : start + size] for value in values) for start in starts]

    @property
    def window(self) -> Window:
        """Taps of a row are one run unless dilation or other groups keep them apart."""
        height, width, depth = self.kernel
        pixel = self.data.shape[3]
        step = self.attrs.strides[1] * pixel
        if self.attrs.dilation[1] == self.attrs.groups == 1:
            return Window(height, 1, width * depth, 0, step)
        return Window(height, width, depth, self.attrs.dilation[1] * pixel, step)

    @property
    def is_reachable(self) -> bool:
        """Whether offsets within a tile fit their instructions."""
        window, channels = self.window, self.output.shape[3]
        reads = (window.runs - 1) * window.run_step + (PIXELS - 1) * window.pixel_step
        reads += min(window.length, 40)
        pixels = min(PIXELS, self.output.elements // channels)
        is_near = reads <= LARGEST_OFFSET and (pixels - 1) * channels < LARGEST_OFFSET - 1
        # a group's part of a patch has to begin with a word
        is_aligned = self.attrs.groups == 1 or self.patch_words == 0 or self.kernel[2] % 4 == 0
        return is_near and is_aligned

    @property
    def words(self) -> int:
        """Of a tile's expanded windows."""
        return self.window.pairs * self.largest_tile

    @property
    def largest_tile(self) -> int:
        """Pixels of the largest tile."""
        return min(PIXELS, self.row_pixels)

    @property
    def row_pixels(self) -> int:
        """Pixels that follow each other: a row of the output, or all of it."""
        return self.pixels if self.is_pointwise else self.output.shape[2]

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
        columns = self.patch_columns(self.largest_tile)
        return -(-self.kernel[0] * columns * self.data.shape[3] // 4)

    def patch_table(self) -> Array:
        """See runtime/tvm_tiny_pairs.h; every tile copies as many columns as the largest."""
        _, height, width, channels = self.data.shape
        columns = self.patch_columns(self.largest_tile)
        rows = (self.kernel[0], self.attrs.dilation[0])
        zero_point = self.attrs.input_zero_point
        return np.array([height, width, channels, *rows, columns, zero_point], np.int32)


@dataclass(frozen=True)
class _Tiles:
    """The two micro-kernels of tiles of so many pixels."""

    pixels: int
    expand: MicroKernel
    multiply: MicroKernel

    @staticmethod
    def of_row(geometry: Geometry, multiply: Multiply) -> tuple[_Tiles, _Tiles]:
        """Tiles for most of a row, and for the rest of it; the same where one is not needed."""
        whole, rest = divmod(geometry.row_pixels, PIXELS)

        def of(pixels: int) -> _Tiles:
            return _Tiles(pixels, expand_microkernel(geometry.window, pixels), multiply(pixels))

        return of(PIXELS if whole else rest), of(rest or PIXELS)


@dataclass(frozen=True)
class _Place:
    """Where in the image the windows of a tile begin, and whether they lie inside it."""

    geometry: Geometry

    def row(self, output_row: tirx.Expr) -> tirx.Expr:
        attrs = self.geometry.attrs
        return output_row * attrs.strides[0] - attrs.padding[0]

    def column(self, output_column: tirx.Expr) -> tirx.Expr:
        attrs = self.geometry.attrs
        return output_column * attrs.strides[1] - attrs.padding[1]

    def offset(self, output_row: tirx.Expr, output_column: tirx.Expr) -> tirx.Expr:
        _, _, width, pixel = self.geometry.data.shape
        return (self.row(output_row) * width + self.column(output_column)) * pixel

    def is_inside(self, output_row: tirx.Expr, output_column: tirx.Expr, pixels: int) -> tirx.Expr:
        geometry, attrs = self.geometry, self.geometry.attrs
        if not attrs.is_padded:
            return T.bool(True)
        row, column = self.row(output_row), self.column(output_column)
        last_row = geometry.data.shape[1] - ((geometry.kernel[0] - 1) * attrs.dilation[0] + 1)
        last_column = geometry.data.shape[2] - geometry.patch_columns(pixels)
        is_row = T.And(row >= 0, row <= last_row)
        return T.And(is_row, T.And(column >= 0, column <= last_column))


def _pointwise(geometry: Geometry, size: int, many: _Tiles, few: _Tiles) -> tirx.PrimFunc:
    """Pixels four by four, as if they were one row."""
    depth, channels = geometry.kernel[2], geometry.output.shape[3]
    pixels, words = geometry.pixels, geometry.words
    whole, rest = divmod(pixels, PIXELS)
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

    return conv2d_1x1


def _windowed(geometry: Geometry, size: int, many: _Tiles, few: _Tiles) -> tirx.PrimFunc:
    """Rows of the output, tile by tile; the last tile of a row has what is left."""
    batch, height, width, pixel = geometry.data.shape
    _, out_height, out_width, channels = geometry.output.shape
    groups, depth, outputs = geometry.attrs.groups, geometry.kernel[2], geometry.channels_of_group
    whole, rest = divmod(out_width, PIXELS)
    words = geometry.words
    scratch_words = words + geometry.patch_words
    place, last = _Place(geometry), whole * PIXELS
    pitch = width * pixel * geometry.attrs.dilation[0]
    patch_pitch = geometry.patch_columns(geometry.largest_tile) * pixel
    image, clamp = height * width * pixel, Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, image), "int8"),
        patch_table: T.Buffer((PATCH_FIELDS,), "int32"),
        stream: T.Buffer((groups, size), "int32"),
        scratch: T.Buffer((scratch_words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, g, oy in T.grid(batch, groups, out_height):
            if whole > 0:
                for tile in range(whole):
                    if place.is_inside(oy, tile * PIXELS, many.pixels):
                        T.evaluate(
                            call(
                                many.expand.name,
                                x[n, place.offset(oy, tile * PIXELS) + g * depth],
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
                        T.evaluate(
                            call(
                                many.expand.name,
                                scratch[words + g * depth // 4],
                                patch_pitch,
                                scratch[0],
                            )
                        )
                    T.evaluate(
                        call(
                            many.multiply.name,
                            scratch[0],
                            stream[g, 0],
                            y[n, oy, tile * PIXELS, g * outputs],
                        )
                    )
            if rest > 0:
                if place.is_inside(oy, last, few.pixels):
                    T.evaluate(
                        call(
                            few.expand.name,
                            x[n, place.offset(oy, last) + g * depth],
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
                            place.column(last),
                            scratch[words],
                        )
                    )
                    T.evaluate(
                        call(
                            few.expand.name,
                            scratch[words + g * depth // 4],
                            patch_pitch,
                            scratch[0],
                        )
                    )
                T.evaluate(
                    call(few.multiply.name, scratch[0], stream[g, 0], y[n, oy, last, g * outputs])
                )
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d
