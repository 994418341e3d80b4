"""Convolutions and dense layers on cores with Helium: dot products of sixteen bytes at a time.

A tile is four output pixels x four output channels. The windows of four pixels are gathered in
scratch, cut into chunks of sixteen bytes (borders hold the zero point, which the folded bias
cancels); one call of a micro-kernel then does all channels, see runtime/tvm_tiny_helium.h. Layers
of fewer pixels take them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import helium_windows, numerics, overlaps, requantization
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.helium_tiles import Tile
from tvm_tiny.schedules.helium_windows import WINDOW_FIELDS, Windows
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.requantization import HeliumEpilogue

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

CHUNK, PIXELS, CHANNELS = 16, 4, 4
CHANNEL_ORDER = (0, 2, 1, 3)  # of a group: narrowing interleaves its halves
SOURCES = (
    "tvm_tiny_mve.h",
    "tvm_tiny_helium.h",
    "tvm_tiny_helium.c",
    "tvm_tiny_helium_dense.c",
    "tvm_tiny_helium_windows.h",
    "tvm_tiny_helium_windows.c",
)


def _chunks(weight: Array) -> Array:
    """(channels, depth) to (groups, 4, chunks, 16), zeros appended to both."""
    padded = requantization.pad_channels(weight, CHANNELS)
    padded = np.pad(padded, ((0, 0), (0, -padded.shape[1] % CHUNK)))
    return padded.reshape(-1, CHANNELS, padded.shape[1] // CHUNK, CHUNK)


def pack_tile_weights(weight: Array) -> Array:
    """(channels, depth) int8 to (groups, 2, chunks, 2, 16)."""
    chunks = _chunks(weight)[:, list(CHANNEL_ORDER)]
    return _pairs(chunks).transpose(0, 1, 3, 2, 4).copy()


def pack_tile_params(table: Array) -> Array:
    """(channels, 3) to (groups, 2, 2, 3)."""
    padded = requantization.pad_channels(table, CHANNELS).reshape(-1, CHANNELS, table.shape[1])
    return _pairs(padded[:, list(CHANNEL_ORDER)])


def _pairs(groups: Array) -> Array:
    return groups.reshape(len(groups), 2, 2, *groups.shape[2:])


def pack_pixel_weights(weight: Array) -> Array:
    """(channels, depth) int8 to (groups, chunks, 4, 16)."""
    return _chunks(weight).transpose(0, 2, 1, 3).copy()


def pack_pixel_params(table: Array) -> Array:
    """(channels, 3) to (groups, 3, 4)."""
    padded = requantization.pad_channels(table, CHANNELS).reshape(-1, CHANNELS, table.shape[1])
    return padded.transpose(0, 2, 1).copy()


PACK_PIXELS = (pack_pixel_weights, pack_pixel_params)


def of_group(image: TensorSpec, groups: int) -> TensorSpec:
    """An image of the channels of one group."""
    return TensorSpec((*image.shape[:3], image.shape[3] // groups), image.dtype)


def of_all_groups(image: TensorSpec, groups: int) -> TensorSpec:
    """An image of the channels of all groups, each as many as this one's."""
    return TensorSpec((*image.shape[:3], image.shape[3] * groups), image.dtype)


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    epilogue: HeliumEpilogue,
    *,
    is_made: bool = False,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None for groups that are small or odd.

    `is_made` has an inner loop of its own (helium_tiles.py): None where pixels are few or channels
    no groups of four.
    """
    groups = attrs.groups
    images = of_group(data, groups), of_group(output, groups)
    layer = Layer(attrs, *images, weight, epilogue, is_made=is_made)
    if groups > 1 and (layer.has_gaps or not layer.is_tiled or layer.depth < CHUNK):
        return None
    if is_made and (layer.has_gaps or not layer.is_tiled):
        return None
    flat = weight.reshape(groups, len(weight) // groups, -1)
    table = epilogue.table(requantization.fold_zero_point(bias, weight, attrs))
    table = table.reshape(*flat.shape[:2], -1)
    is_by_two = layer.is_tiled and not is_made
    pack = (pack_tile_weights, pack_tile_params) if is_by_two else PACK_PIXELS
    packed, params = (
        np.stack([pack_one(one).reshape(-1) for one in values])
        for pack_one, values in zip(pack, (flat, table), strict=True)
    )
    return Kernel(
        "conv2d_1x1" if layer.is_pointwise else "conv2d",
        layer.function(),
        (
            ("window", layer.windows.table()),
            *((("pieces", layer.windows.pieces()),) if layer.is_banded else ()),
            ("weight", packed if layer.is_banded else packed[0]),
            ("params", params if layer.is_banded else params[0]),
        ),
        TensorSpec((layer.extents[0],), "int8") if layer.extents[0] else None,
        SOURCES,
        (layer.tile.microkernel,) if is_made else (),
        overlaps=(layer.overlap,),
    )


@dataclass(frozen=True)
class Layer:
    """Sizes of a layer, and the calls that its kernels are made of.

    Of a layer of several groups, `data` and `output` are the channels of one.
    """

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    weight: Array
    epilogue: HeliumEpilogue
    is_made: bool = False

    @property
    def tile(self) -> Tile:
        """What an inner loop of its own depends on."""
        pitch, zero_point = self.channels * self.attrs.groups, self.attrs.output_zero_point
        return Tile(self.chunks, self.groups, pitch, zero_point, self.epilogue.way)

    @property
    def depth(self) -> int:
        """Bytes of a window."""
        return int(self.weight[0].size)

    @property
    def chunks(self) -> int:
        """Chunks of a window."""
        return -(-self.depth // CHUNK)

    @property
    def groups(self) -> int:
        """Groups of four output channels."""
        return -(-self.channels // CHANNELS)

    @property
    def channels(self) -> int:
        """Output channels of a group."""
        return self.output.shape[3]

    @property
    def is_pointwise(self) -> bool:
        """Whether windows are the input's pixels in order."""
        is_single = self.weight.shape[1:3] == (1, 1) and not self.attrs.is_padded
        return is_single and self.attrs.strides == (1, 1) and self.attrs.groups == 1

    @property
    def images(self) -> int:
        """Images that are gathered one by one; pointwise layers see only pixels."""
        return 1 if self.is_pointwise else self.output.shape[0]

    @property
    def pixels(self) -> int:
        """Output pixels of an image."""
        return self.output.elements // self.channels // self.images

    @property
    def is_tiled(self) -> bool:
        """Whether there are pixels enough for tiles."""
        return self.pixels >= PIXELS

    @property
    def is_direct(self) -> bool:
        """Whether single pixels are read where they lie."""
        return not self.is_tiled and self.is_pointwise and self.depth % CHUNK == 0

    @property
    def is_looped(self) -> bool:
        """Whether the runtime loops over tiles: they follow each other without gaps."""
        is_without_gaps = self.is_tiled and self.is_pointwise and not self.has_gaps
        return is_without_gaps and not self.is_made

    @property
    def is_narrow(self) -> bool:
        """Whether its pixels are one chunk, which is read where it lies."""
        return self.is_looped and self.depth <= CHUNK

    @property
    def is_banded(self) -> bool:
        """Whether windows are put together from a band."""
        return self.is_tiled and not self.is_pointwise and not self.windows.is_chunked

    @property
    def windows(self) -> Windows:
        """Geometry of the windows."""
        kernel = (self.weight.shape[1], self.weight.shape[2])
        return Windows(self.attrs, self.data, self.output, kernel)

    def function(self) -> tirx.PrimFunc:
        """The kernel's loops."""
        if not self.is_tiled:
            return _direct(self) if self.is_direct else _single(self)
        if self.is_pointwise:
            looped = _narrow if self.is_narrow else _looped
            return looped(self) if self.is_looped else _pointwise(self)
        return helium_windows.banded(self) if self.is_banded else helium_windows.chunked(self)

    @staticmethod
    def tiles(pixels: int) -> int:
        """Tiles of a number of pixels."""
        return -(-pixels // PIXELS)

    @staticmethod
    def first(tile: tirx.Expr, pixels: int) -> tirx.Expr:
        """A tile's first pixel; the last tile computes pixels again where it would reach over."""
        pixel = tile * PIXELS
        return pixel if pixels % PIXELS == 0 else T.min(pixel, pixels - PIXELS)

    @property
    def has_gaps(self) -> bool:
        """Whether tiles are written to scratch first: their pixels are a multiple of 4 apart."""
        return self.channels % CHANNELS > 0

    @property
    def tile_at(self) -> int:
        """Offset in scratch of a tile of outputs, behind the chunks and the band."""
        if self.is_direct or self.is_narrow:
            return 0
        is_windowed = self.is_tiled and not self.is_pointwise
        extra = self.windows.scratch_bytes if is_windowed else 0
        return self.chunks * CHUNK * (PIXELS if self.is_tiled else 1) + -(-extra // 4) * 4

    @property
    def behind_chunks(self) -> int:
        """Offset in scratch of what windows need besides their chunks."""
        return self.chunks * CHUNK * PIXELS if self.windows.scratch_bytes else 0

    @property
    def extents(self) -> tuple[int, int, int]:
        """Bytes of scratch, bytes of weights and words of parameters."""
        padded, has_tile = self.groups * CHANNELS, self.has_gaps and self.is_tiled
        scratch = self.tile_at + (PIXELS * padded if has_tile else 0)
        return scratch, padded * self.chunks * CHUNK, padded * HeliumEpilogue.FIELDS

    @property
    def overlap(self) -> Overlap | None:
        """Tiles are gathered before they are written, single pixels of whole chunks are not."""
        if self.attrs.groups > 1:
            return self._overlap_of_groups()
        count = PIXELS if self.is_tiled else 1
        if self.is_banded and not self.windows.is_image:
            count = self.windows.pixels
        pixels = self._pixels_of_tiles(count)
        last = (self.channels - 1) % CHANNELS + 1 if self.is_direct else 0
        kernel = self.windows.kernel
        return overlaps.windows(self.attrs, self.data, self.output, kernel, pixels, last)

    def _overlap_of_groups(self) -> Overlap | None:
        """One group after the other reads a band, and then writes its channels of the pixels."""
        groups = self.attrs.groups
        data, output = (of_all_groups(image, groups) for image in (self.data, self.output))
        reads = overlaps.first_bytes(self.attrs, data, output, self.windows.kernel)
        reads = reads.reshape(-1, self.windows.pixels).min(axis=1)
        group = np.arange(groups)
        begins = reads[:, None] + group * self.data.shape[3]
        pixels = self.windows.pixels * np.arange(len(reads))[:, None] + self.windows.pixels - 1
        ends = pixels * output.shape[3] + (group + 1) * self.channels
        return overlaps.sweep(begins.reshape(-1), ends.reshape(-1), data, output)

    def _pixels_of_tiles(self, count: int) -> Array:
        """Tiles of so many pixels, image by image; see `first`."""
        tiles = overlaps.tile_of(self.pixels, count, moves_back=True)
        images = np.arange(self.images)[:, None, None] * self.pixels
        return (images + tiles).reshape(-1, tiles.shape[1])

    def conv(
        self,
        chunks: tirx.Expr,
        weight: tirx.Expr,
        params: tirx.Expr,
        scratch: tirx.Buffer,
        y: tirx.Expr,
    ) -> tirx.Expr:
        """All channels of a tile."""
        if self.is_made:
            return call(self.tile.microkernel.name, chunks, weight, params, y)
        pitch, to = (
            (self.groups * CHANNELS, scratch[self.tile_at])
            if self.has_gaps
            else (self.channels * self.attrs.groups, y)
        )
        zero_point = self.attrs.output_zero_point
        sizes = (self.chunks, self.groups, pitch, zero_point)
        return call(f"tiny_helium_conv_{self.epilogue.way}", chunks, weight, params, to, *sizes)

    def close_up(self, scratch: tirx.Buffer, y: tirx.Expr) -> tirx.Expr:
        """The tile from scratch to where it belongs."""
        if not self.has_gaps:
            return T.int32(0)
        sizes = (self.groups * CHANNELS, PIXELS, self.channels)
        return call("tiny_helium_close_up", scratch[self.tile_at], *sizes, y)

    def narrow(
        self, x: tirx.Expr, weight: tirx.Expr, params: tirx.Expr, y: tirx.Expr, tiles: int
    ) -> tirx.Expr:
        """All channels of some tiles."""
        sizes = (self.depth, self.groups, tiles, self.attrs.output_zero_point)
        return call(f"tiny_helium_narrow_{self.epilogue.way}", x, weight, params, y, *sizes)

    def looped(
        self,
        x: tirx.Expr,
        weight: tirx.Expr,
        params: tirx.Expr,
        y: tirx.Expr,
        tiles: int,
        scratch: tirx.Expr,
    ) -> tirx.Expr:
        """The same for pixels of several chunks."""
        sizes = (self.depth, self.groups, tiles, self.attrs.output_zero_point, self.chunks)
        name = f"tiny_helium_pointwise_{self.epilogue.way}"
        return call(name, x, weight, params, y, *sizes, scratch)

    def dense(
        self, pixel: tirx.Expr, weight: tirx.Expr, params: tirx.Expr, y: tirx.Expr
    ) -> tirx.Expr:
        """All channels of a pixel."""
        sizes = (self.chunks, self.channels, self.attrs.output_zero_point)
        return call(f"tiny_helium_dense_{self.epilogue.way}", pixel, weight, params, y, *sizes)

    def clamp(self, first: tirx.Expr) -> tirx.Expr:
        """What is left to clamp when the micro-kernels have saturated to int8."""
        low, high = self.attrs.clamp_min, self.attrs.clamp_max
        if (low, high) == (numerics.INT8_MIN, numerics.INT8_MAX):
            return T.int32(0)
        elements = self.output.elements * self.attrs.groups
        return call("tiny_helium_clamp", first, elements, low, high)


def _pointwise(layer: Layer) -> tirx.PrimFunc:
    """Chunks of four pixels side by side."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    size, weights, fields = layer.extents

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for t in range(layer.tiles(pixels)):
            T.evaluate(
                call("tiny_helium_pixels", x[layer.first(t, pixels), 0], depth, depth, scratch[0])
            )
            T.evaluate(
                layer.conv(scratch[0], weight[0], params[0], scratch, y[layer.first(t, pixels), 0])
            )
            T.evaluate(layer.close_up(scratch, y[layer.first(t, pixels), 0]))
        T.evaluate(layer.clamp(y[0, 0]))

    return conv2d_1x1


def _narrow(layer: Layer) -> tirx.PrimFunc:
    """Pixels of one chunk: the runtime has a loop over all tiles but the one that remains."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    _, weights, fields = layer.extents
    last = pixels - PIXELS

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        T.evaluate(layer.narrow(x[0, 0], weight[0], params[0], y[0, 0], pixels // PIXELS))
        T.evaluate(
            layer.narrow(x[last, 0], weight[0], params[0], y[last, 0], 1)
            if pixels % PIXELS > 0
            else T.int32(0)
        )
        T.evaluate(layer.clamp(y[0, 0]))

    return conv2d_1x1


def _looped(layer: Layer) -> tirx.PrimFunc:
    """The same for pixels of several chunks."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    size, weights, fields = layer.extents
    last = pixels - PIXELS

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        T.evaluate(
            layer.looped(x[0, 0], weight[0], params[0], y[0, 0], pixels // PIXELS, scratch[0])
        )
        T.evaluate(
            layer.looped(x[last, 0], weight[0], params[0], y[last, 0], 1, scratch[0])
            if pixels % PIXELS > 0
            else T.int32(0)
        )
        T.evaluate(layer.clamp(y[0, 0]))

    return conv2d_1x1


def _single(layer: Layer) -> tirx.PrimFunc:
    """Fewer pixels than a tile has, each gathered."""
    images, pixels, channels = layer.images, layer.pixels, layer.channels
    elements = layer.data.elements // images
    size, weights, fields = layer.extents

    @T.prim_func(s_tir=True)
    def conv2d_single(
        x: T.Buffer((images, elements), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((images, pixels, channels), "int8"),
    ):
        for n, p in T.grid(images, pixels):
            T.evaluate(call("tiny_helium_window", x[n, 0], window[0], p, scratch[0]))
            T.evaluate(layer.dense(scratch[0], weight[0], params[0], y[n, p, 0]))
        T.evaluate(layer.clamp(y[0, 0, 0]))

    return conv2d_single


def _direct(layer: Layer) -> tirx.PrimFunc:
    """Fewer pixels than a tile has, as in dense layers: read where they lie."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    _, weights, fields = layer.extents

    @T.prim_func(s_tir=True)
    def conv2d_direct(
        x: T.Buffer((pixels, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for p in range(pixels):
            T.evaluate(layer.dense(x[p, 0], weight[0], params[0], y[p, 0]))
        T.evaluate(layer.clamp(y[0, 0]))

    return conv2d_direct
