"""Convolutions tile by tile: the loops around the micro-kernels.

A tile of up to four output pixels is expanded once to words of two halves (pair_windows.py), or of
two pixels on cores without DSP instructions (long_windows.py), then meets all output channels in
one call. Tiles at the border read a copy of their part of the image, filled up with the zero point,
which the folded bias cancels. How weights lie in memory is up to
pair_conv.py, packed_conv.py and long_conv.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import long_windows, overlaps, pair_windows
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.pair_windows import Window
from tvm_tiny.schedules.requantization import Clamp

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

PIXELS = 4  # of a tile that is not asked to be another
SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.c", "tvm_tiny_pairs.h")
COUPLE_SOURCES = ("tvm_tiny_long.c", "tvm_tiny_long.h")
PATCH_FIELDS = 7
LARGEST_OFFSET = 4095  # of a store or load from its base register

# The micro-kernel that multiplies tiles of so many pixels.
Multiply = Callable[[int], MicroKernel]


def kernel(geometry: Geometry, stream: Array, multiply: Multiply) -> Kernel:
    """The kernel whose tiles read `stream` (groups, words): weights and parameters of channels."""
    sliding = _windowed if geometry.attrs.groups == 1 else _grouped
    make = _pointwise if geometry.is_pointwise else sliding
    patch = () if geometry.is_pointwise else (("patch_table", geometry.patch_table()),)
    many, few = _Tiles.of_row(geometry, multiply)
    return Kernel(
        "conv2d_1x1" if geometry.is_pointwise else "conv2d",
        make(geometry, stream.shape[1], many, few),
        (*patch, ("stream", stream)),
        TensorSpec((geometry.words + geometry.patch_words,), "int32"),
        SOURCES + (COUPLE_SOURCES if geometry.has_couples else ()),
        tuple(function for tile in (many, few) for function in (tile.expand, tile.multiply)),
        (geometry.overlap,),
    )


@dataclass(frozen=True)
class Geometry:
    """Where windows lie in the image, and tiles of them; words hold couples of pixels, or pairs."""

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    kernel: tuple[int, int, int]  # height, width, input channels of a group
    has_couples: bool = False
    tile: int = PIXELS  # pixels of a whole one

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
        reads = (window.runs - 1) * window.run_step + (self.tile - 1) * window.pixel_step
        reads += min(window.length, 40)
        pixels = min(self.tile, self.output.elements // channels)
        return reads <= LARGEST_OFFSET and (pixels - 1) * channels < LARGEST_OFFSET - 1

    @property
    def words(self) -> int:
        """Of a tile's expanded windows."""
        if self.has_couples:
            return self.window.taps * -(-self.largest_tile // 2)
        return self.window.pairs * self.largest_tile

    @property
    def largest_tile(self) -> int:
        """Pixels of the largest tile."""
        return min(self.tile, self.row_pixels)

    @property
    def row_pixels(self) -> int:
        """Pixels that follow each other: a row of the output, or all of it."""
        return self.pixels if self.is_pointwise else self.output.shape[2]

    @property
    def pixels(self) -> int:
        """Of the output, all batches together."""
        return self.output.elements // self.output.shape[3]

    @property
    def overlap(self) -> Overlap | None:
        """Tiles are expanded before they are written; groups read all of the image again."""
        if self.attrs.groups > 1:
            return None
        tiles = overlaps.in_rows(self.output, self.tile)
        if self.is_pointwise:
            tiles = overlaps.tile_of(self.pixels, self.tile)
        return overlaps.windows(self.attrs, self.data, self.output, self.kernel[:2], tiles)

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
        whole, rest = divmod(geometry.row_pixels, geometry.tile)

        def of(pixels: int) -> _Tiles:
            form = long_windows if geometry.has_couples else pair_windows
            expand = form.expand_microkernel(geometry.window, pixels)
            return _Tiles(pixels, expand, multiply(pixels))

        return of(geometry.tile if whole else rest), of(rest or geometry.tile)


@dataclass(frozen=True)
class _Windowed:
    """TIR of a tile whose windows begin somewhere in the image: n, g, row and column say where."""

    geometry: Geometry
    tile: _Tiles

    def is_inside(self, row: tirx.Expr, column: tirx.Expr) -> tirx.Expr:
        """Whether all windows lie inside the image."""
        geometry, attrs = self.geometry, self.geometry.attrs
        if not attrs.is_padded:
            return T.bool(True)
        top, left = self._begin(row, column)
        last_row = geometry.data.shape[1] - ((geometry.kernel[0] - 1) * attrs.dilation[0] + 1)
        last_column = geometry.data.shape[2] - geometry.patch_columns(self.tile.pixels)
        is_row = T.And(top >= 0, top <= last_row)
        return T.And(is_row, T.And(left >= 0, left <= last_column))

    def expand(
        self,
        x: tirx.Buffer,
        scratch: tirx.Buffer,
        n: tirx.Expr,
        row: tirx.Expr,
        column: tirx.Expr,
        g: tirx.Expr | int = 0,
    ) -> tirx.Expr:
        """Expand windows where they lie."""
        geometry = self.geometry
        _, _, width, pixel = geometry.data.shape
        top, left = self._begin(row, column)
        first = x[n, (top * width + left) * pixel + g * geometry.kernel[2]]
        pitch = width * pixel * geometry.attrs.dilation[0]
        return call(self.tile.expand.name, first, pitch, scratch[0])

    def copy(
        self,
        x: tirx.Buffer,
        table: tirx.Buffer,
        scratch: tirx.Buffer,
        n: tirx.Expr,
        row: tirx.Expr,
        column: tirx.Expr,
    ) -> tirx.Expr:
        """Copy the part of the image that they cover, with its border."""
        top, left = self._begin(row, column)
        patch = scratch[self.geometry.words]
        return call("tiny_copy_patch", x[n, 0], table[0], top, left, patch)

    def expand_copy(self, scratch: tirx.Buffer, g: tirx.Expr | None = None) -> tirx.Expr:
        """Expand windows of the copy."""
        geometry, patch = self.geometry, scratch[self.geometry.words]
        pitch = geometry.patch_columns(geometry.largest_tile) * geometry.data.shape[3]
        first = patch if g is None else call("tiny_byte_of", patch, g * geometry.kernel[2])
        return call(self.tile.expand.name, first, pitch, scratch[0])

    def multiply(
        self, scratch: tirx.Buffer, stream: tirx.Buffer, y: tirx.Expr, g: tirx.Expr | int = 0
    ) -> tirx.Expr:
        """All outputs of the tile, the first at `y`."""
        return call(self.tile.multiply.name, scratch[0], stream[g, 0], y)

    def _begin(self, row: tirx.Expr, column: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        attrs = self.geometry.attrs
        top = row * attrs.strides[0] - attrs.padding[0]
        return top, column * attrs.strides[1] - attrs.padding[1]


def _pointwise(geometry: Geometry, size: int, many: _Tiles, few: _Tiles) -> tirx.PrimFunc:
    """Tile by tile, as if all pixels were one row."""
    each = geometry.tile
    depth, channels = geometry.kernel[2], geometry.output.shape[3]
    pixels, words = geometry.pixels, geometry.words
    whole, rest = divmod(pixels, each)
    last, clamp = whole * each, Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels * depth,), "int8"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((pixels * channels,), "int8"),
    ):
        if whole > 0:
            for tile in range(whole):
                T.evaluate(call(many.expand.name, x[tile * each * depth], 0, scratch[0]))
                T.evaluate(
                    call(many.multiply.name, scratch[0], stream[0], y[tile * each * channels])
                )
        if rest > 0:
            T.evaluate(call(few.expand.name, x[last * depth], 0, scratch[0]))
            T.evaluate(call(few.multiply.name, scratch[0], stream[0], y[last * channels]))
        T.evaluate(clamp.call(y[0]))

    return conv2d_1x1


def _windowed(geometry: Geometry, size: int, many: _Tiles, few: _Tiles) -> tirx.PrimFunc:
    """Rows of the output, tile by tile; the last tile of a row has what is left."""
    each = geometry.tile
    batch, image = geometry.data.shape[0], geometry.data.elements // geometry.data.shape[0]
    _, out_height, out_width, channels = geometry.output.shape
    whole, rest = divmod(out_width, each)
    last, scratch_words = whole * each, geometry.words + geometry.patch_words
    tiles, end = _Windowed(geometry, many), _Windowed(geometry, few)
    clamp = Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, image), "int8"),
        patch_table: T.Buffer((PATCH_FIELDS,), "int32"),
        stream: T.Buffer((1, size), "int32"),
        scratch: T.Buffer((scratch_words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy in T.grid(batch, out_height):
            if whole > 0:
                for tile in range(whole):
                    if tiles.is_inside(oy, tile * each):
                        T.evaluate(tiles.expand(x, scratch, n, oy, tile * each))
                    else:
                        T.evaluate(tiles.copy(x, patch_table, scratch, n, oy, tile * each))
                        T.evaluate(tiles.expand_copy(scratch))
                    T.evaluate(tiles.multiply(scratch, stream, y[n, oy, tile * each, 0]))
            if rest > 0:
                if end.is_inside(oy, last):
                    T.evaluate(end.expand(x, scratch, n, oy, last))
                else:
                    T.evaluate(end.copy(x, patch_table, scratch, n, oy, last))
                    T.evaluate(end.expand_copy(scratch))
                T.evaluate(end.multiply(scratch, stream, y[n, oy, last, 0]))
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d


def _grouped(geometry: Geometry, size: int, many: _Tiles, few: _Tiles) -> tirx.PrimFunc:
    """The same with all groups of a tile in turn: what is copied serves all."""
    each = geometry.tile
    batch, groups = geometry.data.shape[0], geometry.attrs.groups
    image, outputs = geometry.data.elements // batch, geometry.channels_of_group
    _, out_height, out_width, channels = geometry.output.shape
    whole, rest = divmod(out_width, each)
    last, scratch_words = whole * each, geometry.words + geometry.patch_words
    tiles, end = _Windowed(geometry, many), _Windowed(geometry, few)
    clamp = Clamp(geometry.attrs, geometry.output.elements)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, image), "int8"),
        patch_table: T.Buffer((PATCH_FIELDS,), "int32"),
        stream: T.Buffer((groups, size), "int32"),
        scratch: T.Buffer((scratch_words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy in T.grid(batch, out_height):
            if whole > 0:
                for tile in range(whole):
                    if T.Not(tiles.is_inside(oy, tile * each)):
                        T.evaluate(tiles.copy(x, patch_table, scratch, n, oy, tile * each))
                    for g in range(groups):
                        if tiles.is_inside(oy, tile * each):
                            T.evaluate(tiles.expand(x, scratch, n, oy, tile * each, g))
                        else:
                            T.evaluate(tiles.expand_copy(scratch, g))
                        T.evaluate(
                            tiles.multiply(scratch, stream, y[n, oy, tile * each, g * outputs], g)
                        )
            if rest > 0:
                if T.Not(end.is_inside(oy, last)):
                    T.evaluate(end.copy(x, patch_table, scratch, n, oy, last))
                for g in range(groups):
                    if end.is_inside(oy, last):
                        T.evaluate(end.expand(x, scratch, n, oy, last, g))
                    else:
                        T.evaluate(end.expand_copy(scratch, g))
                    T.evaluate(end.multiply(scratch, stream, y[n, oy, last, g * outputs], g))
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d
