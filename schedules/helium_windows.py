"""Windows of convolutions on cores with Helium: from where four pixels' chunks are gathered.

Where the input's channels are whole chunks, taps are gathered one by one from the image. Elsewhere
a chunk holds pieces of several taps: those are put together from a band, some rows of the padded
image in scratch. A band serves one row of the output, or all of a small image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.microkernel import call

if TYPE_CHECKING:
    from tvm_tiny.schedules.helium_conv import Layer
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

CHUNK, PIXELS = 16, 4
WINDOW_FIELDS = 18
SMALL_BAND = 2048  # bytes of a whole image that may lie in scratch for the sake of full tiles


@dataclass(frozen=True)
class Windows:
    """Geometry of a layer's windows, or of one group's of a layer: `data` and `output` then too."""

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    kernel: tuple[int, int]

    @property
    def is_chunked(self) -> bool:
        """Whether every tap is a number of whole chunks, and all channels are of one group."""
        return self.data.shape[3] % CHUNK == 0 and self.attrs.groups == 1

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns that windows reach, and the whole image."""
        sizes = []
        for i in range(2):
            span = (self.kernel[i] - 1) * self.attrs.dilation[i] + 1
            reach = (self.output.shape[1 + i] - 1) * self.attrs.strides[i] + span
            sizes.append(max(reach, self.attrs.padding[i] + self.data.shape[1 + i]))
        return sizes[0], sizes[1]

    @property
    def pitch(self) -> int:
        """Bytes of a band's row."""
        return self.padded[1] * self.data.shape[3]

    @property
    def is_image(self) -> bool:
        """Whether the image is its own band."""
        return not any(self.attrs.padding) and self.attrs.groups == 1

    @property
    def is_whole(self) -> bool:
        """Whether one band serves all of the output."""
        width = self.output.shape[2]
        is_small = self.padded[0] * self.pitch <= SMALL_BAND
        has_use = width % PIXELS > 0 or self.attrs.groups > 1
        return self.is_image or width < PIXELS or (has_use and is_small)

    @property
    def band_rows(self) -> int:
        """Rows of the padded image in a band."""
        if self.is_whole:
            return self.padded[0]
        return (self.kernel[0] - 1) * self.attrs.dilation[0] + 1

    @property
    def bands(self) -> int:
        """Bands of an image."""
        return 1 if self.is_whole else self.output.shape[1]

    @property
    def scratch_bytes(self) -> int:
        """A band, or a row of a tile at the image's edge, behind the chunks."""
        if self.is_chunked:
            columns = (PIXELS - 1) * self.attrs.strides[1] + self.kernel[1]
            return columns * self.data.shape[3] if self.attrs.is_padded else 0
        return 0 if self.is_image else self.band_rows * self.pitch

    @property
    def pixels(self) -> int:
        """Output pixels of a band."""
        return self.output.shape[1] * self.output.shape[2] // self.bands

    def table(self) -> Array:
        """What the runtime reads: see `enum` in runtime/tvm_tiny_helium_windows.h."""
        attrs = self.attrs
        fields = (
            *self.data.shape[1:],
            *self.kernel,
            *attrs.strides,
            *attrs.padding[:2],
            *attrs.dilation,
            self.output.shape[2],
            self.pitch,
            self.data.shape[3] * attrs.groups,
            *np.full(CHUNK, attrs.input_zero_point, np.int8).view(np.int32),
        )
        return np.array(fields, np.int32)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Where a window's bytes lie in a band: (offset, length) in order of depth."""
        (height, width), channels = self.kernel, self.data.shape[3]
        rows, columns = self.attrs.dilation
        is_dense = columns == 1
        for ky in range(height):
            for kx in range(1 if is_dense else width):
                offset = ky * rows * self.pitch + kx * columns * channels
                yield offset, channels * (width if is_dense else 1)

    def pieces(self) -> Array:
        """What tiny_helium_pieces reads."""
        depth = self.kernel[0] * self.kernel[1] * self.data.shape[3]
        chunks: list[list[tuple[int, int]]] = [[] for _ in range(-(-depth // CHUNK))]
        at = place = 0
        for offset, length in self._runs():
            end = place + length
            while place < end:
                lane = place % CHUNK
                count = min(end - place, CHUNK - lane)
                begin = offset + length - (end - place) - lane
                chunks[place // CHUNK].append((begin - at, ((1 << count) - 1) << lane))
                at, place = begin, place + count
        words = [[len(pieces) - 1, *(n for piece in pieces for n in piece)] for pieces in chunks]
        return np.array([n for row in words for n in row], np.int32)


def chunked(layer: Layer) -> tirx.PrimFunc:
    """Taps of whole chunks are gathered from the image."""
    images, pixels, channels = layer.images, layer.pixels, layer.channels
    elements, (size, weights, fields) = layer.data.elements // images, layer.extents
    edge_at = layer.behind_chunks

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((images, elements), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        weight: T.Buffer((weights,), "int8"),
        params: T.Buffer((fields,), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((images, pixels, channels), "int8"),
    ):
        for n, t in T.grid(images, layer.tiles(pixels)):
            T.evaluate(
                call(
                    "tiny_helium_windows",
                    x[n, 0],
                    window[0],
                    layer.first(t, pixels),
                    scratch[0],
                    scratch[edge_at],
                )
            )
            T.evaluate(
                layer.conv(
                    scratch[0], weight[0], params[0], scratch, y[n, layer.first(t, pixels), 0]
                )
            )
            T.evaluate(layer.close_up(scratch, y[n, layer.first(t, pixels), 0]))
        T.evaluate(layer.clamp(y[0, 0, 0]))

    return conv2d


def banded(layer: Layer) -> tirx.PrimFunc:
    """Chunks are put together from a band; `layer` is one of equal groups."""
    windows, images, groups = layer.windows, layer.images, layer.attrs.groups
    pixels, bands, channels = windows.pixels, windows.bands, layer.channels
    elements, (size, weights, fields) = layer.data.elements // images, layer.extents
    words, chunks, band_at = len(windows.pieces()), layer.chunks, layer.behind_chunks
    depth = layer.data.shape[3]
    stride, top = layer.attrs.strides[0], layer.attrs.padding[0]
    is_image, is_row, band_rows = windows.is_image, not windows.is_whole, windows.band_rows
    step = layer.attrs.strides[1] * layer.data.shape[3]

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((images, elements * groups), "int8"),
        window: T.Buffer((WINDOW_FIELDS,), "int32"),
        pieces: T.Buffer((words,), "int32"),
        weight: T.Buffer((groups, weights), "int8"),
        params: T.Buffer((groups, fields), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((images, bands, pixels, groups * channels), "int8"),
    ):
        for n, b, g in T.grid(images, bands, groups):
            T.evaluate(
                T.int32(0)
                if is_image
                else call(
                    "tiny_helium_band",
                    x[n, g * depth],
                    window[0],
                    b * stride - top,
                    band_rows,
                    scratch[band_at],
                )
            )
            for t in range(layer.tiles(pixels)):
                T.evaluate(
                    call(
                        "tiny_helium_pieces_of_row",
                        scratch[band_at + layer.first(t, pixels) * step],
                        pieces[0],
                        chunks,
                        scratch[0],
                        step,
                    )
                    if is_row
                    else call(
                        "tiny_helium_pieces",
                        x[n, 0] if is_image else scratch[band_at],
                        window[0],
                        layer.first(t, pixels),
                        pieces[0],
                        chunks,
                        scratch[0],
                    )
                )
                T.evaluate(
                    layer.conv(
                        scratch[0],
                        weight[g, 0],
                        params[g, 0],
                        scratch,
                        y[n, b, layer.first(t, pixels), g * channels],
                    )
                )
                T.evaluate(layer.close_up(scratch, y[n, b, layer.first(t, pixels), g * channels]))
        T.evaluate(layer.clamp(y[0, 0, 0, 0]))

    return conv2d
