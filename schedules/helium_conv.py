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

from tvm_tiny.schedules import numerics, requantization
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.requantization import HeliumEpilogue

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

CHUNK, PIXELS, CHANNELS = 16, 4, 4
CHANNEL_ORDER = (0, 2, 1, 3)  # of a group: narrowing interleaves its halves
SOURCES = ("tvm_tiny_mve.h", "tvm_tiny_helium.h", "tvm_tiny_helium.c")
WINDOW_FIELDS = 13


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


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    epilogue: HeliumEpilogue,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None for groups."""
    if attrs.groups != 1:
        return None
    layer = _Layer(attrs, data, output, weight, epilogue)
    flat, folded = (
        weight.reshape(len(weight), -1),
        requantization.fold_zero_point(bias, weight, attrs),
    )
    table = epilogue.table(folded)
    if layer.is_tiled:
        function = _pointwise(layer) if layer.is_pointwise else _windowed(layer)
        packed, params = pack_tile_weights(flat), pack_tile_params(table)
    else:
        function = _direct(layer) if layer.is_direct else _single(layer)
        packed, params = pack_pixel_weights(flat), pack_pixel_params(table)
    return Kernel(
        "conv2d_1x1" if layer.is_pointwise else "conv2d",
        function,
        (("window", layer.window), ("weight", packed.reshape(-1)), ("params", params.reshape(-1))),
        None if layer.is_direct else TensorSpec((layer.scratch_bytes,), "int8"),
        SOURCES,
    )


@dataclass(frozen=True)
class _Layer:
    """Sizes of a layer, and the calls that its kernels are made of."""

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    weight: Array
    epilogue: HeliumEpilogue

    @property
    def depth(self) -> int:
        return int(self.weight[0].size)

    @property
    def chunks(self) -> int:
        return -(-self.depth // CHUNK)

    @property
    def groups(self) -> int:
        return -(-self.channels // CHANNELS)

    @property
    def channels(self) -> int:
        return self.output.shape[3]

    @property
    def is_pointwise(self) -> bool:
        """Whether windows are the input's pixels in order."""
        is_single = self.weight.shape[1:3] == (1, 1) and not self.attrs.is_padded
        return is_single and self.attrs.strides == (1, 1)

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
        return self.pixels >= PIXELS

    @property
    def is_direct(self) -> bool:
        """Whether single pixels are read where they lie."""
        return not self.is_tiled and self.is_pointwise and self.depth % CHUNK == 0

    @property
    def tiles(self) -> int:
        return -(-self.pixels // PIXELS)

    def first(self, tile: tirx.Expr) -> tirx.Expr:
        """A tile's first pixel; the last tile computes pixels again where it would reach over."""
        pixel = tile * PIXELS
        return pixel if self.pixels % PIXELS == 0 else T.min(pixel, self.pixels - PIXELS)

    @property
    def window(self) -> Array:
        """What tiny_helium_windows reads: see `enum` in runtime/tvm_tiny_helium.h."""
        attrs = self.attrs
        fields = (
            *self.data.shape[1:],
            *self.weight.shape[1:3],
            *attrs.strides,
            *attrs.padding[:2],
            *attrs.dilation,
            self.output.shape[2],
            attrs.input_zero_point,
        )
        return np.array(fields, np.int32)

    @property
    def has_gaps(self) -> bool:
        """Whether tiles are written to scratch first: their pixels are a multiple of 4 apart."""
        return self.channels % CHANNELS > 0

    @property
    def bytes_at(self) -> int:
        """Offset in scratch of windows whose bytes are gathered before they become chunks."""
        return self.chunks * CHUNK * (PIXELS if self.is_tiled else 1)

    @property
    def tile_at(self) -> int:
        """Offset in scratch of a tile of outputs."""
        is_gathered = self.is_tiled and not self.is_pointwise and self.data.shape[3] % CHUNK > 0
        return self.bytes_at + (-(-PIXELS * self.depth // 4) * 4 if is_gathered else 0)

    @property
    def scratch_bytes(self) -> int:
        is_closed_up = self.has_gaps and self.is_tiled
        return self.tile_at + (PIXELS * self.groups * CHANNELS if is_closed_up else 0)

    def conv(
        self,
        chunks: tirx.Expr,
        weight: tirx.Expr,
        params: tirx.Expr,
        scratch: tirx.Buffer,
        y: tirx.Expr,
    ) -> tirx.Expr:
        """All channels of a tile."""
        pitch, to = (
            (self.groups * CHANNELS, scratch[self.tile_at]) if self.has_gaps else (self.channels, y)
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
        return call("tiny_helium_clamp", first, self.output.elements, low, high)


def _pointwise(layer: _Layer) -> tirx.PrimFunc:
    """Chunks of four pixels side by side; pixels of one chunk are read where they lie."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    size, weights, fields = _extents(layer)
    is_in_place = depth == CHUNK

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels, depth), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for t in range(layer.tiles):
            T.evaluate(
                T.int32(0)
                if is_in_place
                else call("tiny_helium_pixels", x[layer.first(t), 0], depth, depth, scratch[0])
            )
            T.evaluate(
                layer.conv(
                    x[layer.first(t), 0] if is_in_place else scratch[0],
                    weight[0],
                    params[0],
                    scratch,
                    y[layer.first(t), 0],
                )
            )
            T.evaluate(layer.close_up(scratch, y[layer.first(t), 0]))
        T.evaluate(layer.clamp(y[0, 0]))

    return conv2d_1x1


def _windowed(layer: _Layer) -> tirx.PrimFunc:
    """Any other window is gathered tap by tap."""
    images, pixels, channels = layer.images, layer.pixels, layer.channels
    elements = layer.data.elements // images
    size, weights, fields = _extents(layer)
    bytes_at = layer.bytes_at if layer.bytes_at < size else 0

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((images, elements), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((images, pixels, channels), "int8"),
    ):
        for n, t in T.grid(images, layer.tiles):
            T.evaluate(
                call(
                    "tiny_helium_windows",
                    x[n, 0],
                    window[0],
                    layer.first(t),
                    scratch[0],
                    scratch[bytes_at],
                )
            )
            T.evaluate(
                layer.conv(scratch[0], weight[0], params[0], scratch, y[n, layer.first(t), 0])
            )
            T.evaluate(layer.close_up(scratch, y[n, layer.first(t), 0]))
        T.evaluate(layer.clamp(y[0, 0, 0]))

    return conv2d


def _single(layer: _Layer) -> tirx.PrimFunc:
    """Fewer pixels than a tile has, each gathered."""
    images, pixels, channels = layer.images, layer.pixels, layer.channels
    elements = layer.data.elements // images
    size, weights, fields = _extents(layer)

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


def _direct(layer: _Layer) -> tirx.PrimFunc:
    """Fewer pixels than a tile has, as in dense layers: read where they lie."""
    pixels, depth, channels = layer.pixels, layer.depth, layer.channels
    _, weights, fields = _extents(layer)

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


def _extents(layer: _Layer) -> tuple[int, int, int]:
    """Bytes of scratch, bytes of weights and words of parameters."""
    padded = layer.groups * CHANNELS
    return layer.scratch_bytes, padded * layer.chunks * CHUNK, padded * HeliumEpilogue.FIELDS
