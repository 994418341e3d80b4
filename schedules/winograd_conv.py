"""Exact convolutions by Winograd's transforms, in integers: 16 products for 36, or 4 for 6.

With d a tile of 4 x 4 inputs and g a kernel of 3x3, Y = A^T [(G g G^T) . (B^T d B)] A are 2 x 2
outputs, F(2x2, 3x3). Along rows alone it is F(2, 3), for kernels of any height and width three.
G holds halves; 2G is integer, which makes all sums two times as large for each axis: scaled weights
want a factor anyway (scaling.py), and where less is wanted, sums are halved, without remainder.
Nothing is rounded anywhere. Weights transformed by 2G fit 16 bits, and where the real weights do
not prove that they also do scaled, sums are scaled instead, behind the loop. Inputs never exceed
512, and sums may wrap as long as outputs fit, which the real weights have to prove (reach).

Tiles lie side by side in strips of up to four; those at the lower and right end of images of odd
sizes move back inside and compute some outputs twice. The zero point is folded into the bias: it
enters at the position (1, 1), which all outputs of a tile take with a plus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps, requantization, scaling
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.pair_tiles import UNROLLED_PAIRS
from tvm_tiny.schedules.pair_windows import QUAD_PAIRS
from tvm_tiny.schedules.requantization import Clamp
from tvm_tiny.schedules.winograd_gather import QUAD, Image, channel_order, gather_microkernel
from tvm_tiny.schedules.winograd_inputs import ORDER, inputs_microkernel
from tvm_tiny.schedules.winograd_strips import (
    LARGEST_TILES,
    SIZE,
    SQUARE,
    Row,
    Strip,
    Transform,
    lines,
    row_of,
)
from tvm_tiny.schedules.winograd_tiles import CHANNELS, Outputs, tiles_microkernel

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.h", "tvm_tiny_winograd.c", "tvm_tiny_winograd.h")
DOUBLED_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
TALLEST = 9  # kernel
LEAST_DEPTH = 3  # with less, there is little to multiply
LARGEST_OFFSET = 4095  # of a store from its base register


def square_kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    *rest: Array,
    unroll: int = UNROLLED_PAIRS,
) -> Kernel | None:
    """The kernel of 3x3; None for other windows, sizes that are too small, and where not proved."""
    if weight.shape[1:3] != (3, 3) or output.shape[1] < 2:
        return None
    return _kernel(SQUARE, attrs, data, output, weight, *rest, unroll=unroll)


def line_kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    *rest: Array,
    unroll: int = UNROLLED_PAIRS,
) -> Kernel | None:
    """The same along rows alone, for kernels of other heights too."""
    height, width = weight.shape[1:3]
    if width != 3 or height > TALLEST:
        return None
    return _kernel(lines(height), attrs, data, output, weight, *rest, unroll=unroll)


def _kernel(
    transform: Transform,
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    unroll: int,
) -> Kernel | None:
    if not is_made_for(attrs, data, output):
        return None
    layer = layer_of(transform, attrs, weight, bias, multiplier, shift)
    form = scaling.choose(layer)
    if form is None or not is_proved(layer, form):
        return None
    geometry = Geometry.of(transform, attrs, data, output)
    pitch = output.shape[2] * output.shape[3]
    outputs = Outputs(output.shape[3], pitch, form, lift(layer, form))
    strip, last = (
        _Strip(geometry, s, outputs, unroll) for s in (geometry.row.strip, geometry.row.last)
    )
    stream = pack_stream(transform, layer, form)
    return Kernel(
        "conv2d_winograd",
        _tiled(geometry, strip, last, len(stream)),
        (("stream", stream),),
        TensorSpec((geometry.words,), "int32"),
        SOURCES,
        strip.microkernels + last.microkernels,
        (geometry.overlap(weight.shape[1:3]),),
    )


def is_made_for(attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec) -> bool:
    """Whether strides are one, and sizes enough for one tile and one word."""
    is_plain = attrs.groups == 1 and attrs.strides == (1, 1) and attrs.dilation == (1, 1)
    width, channels = output.shape[2:]
    is_large = min(width, channels) >= 2 and data.shape[3] >= LEAST_DEPTH
    return is_plain and is_large and 2 * channels <= LARGEST_OFFSET


def transformed(transform: Transform, weight: Array) -> Array:
    """OHWI weights by 2G on each axis: (channels, columns, four positions, taps, depth)."""
    along = np.einsum("oyxc,jx->ojyc", weight.astype(np.int64), DOUBLED_G)
    if transform == SQUARE:
        return np.einsum("iy,ojyc->ojic", DOUBLED_G, along)[:, :, :, None]
    return along[:, None]


def layer_of(
    transform: Transform,
    attrs: QConv2DAttributes,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> scaling.Layer:
    """What scalings are chosen from, with transformed weights."""
    folded = requantization.fold_zero_point(bias, weight, attrs)
    reach = requantization.reach(weight.reshape(len(weight), -1), folded, attrs)
    flat = transformed(transform, weight).reshape(len(weight), -1)
    return scaling.Layer(attrs, flat, folded, reach, multiplier, -shift, transform.weight_bits)


def lift(layer: scaling.Layer, form: scaling.Scaling) -> int:
    """Bits that sums have to rise until they are what the form wants; negative: to sink."""
    wanted = int(form.scale.min()) - layer.weight_bits
    return wanted if wanted < 0 or not np.all(layer.fits(form.scale)) else 0


def is_proved(layer: scaling.Layer, form: scaling.Scaling) -> bool:
    """Whether sums fit words before they sink; weights that are not scaled always fit lanes."""
    bits = form.bias_scale + max(-lift(layer, form), 0)
    return bool(np.all(layer.reach.astype(object) << bits.astype(object) < 1 << 31))


def pack_stream(transform: Transform, layer: scaling.Layer, form: scaling.Scaling) -> Array:
    """What tiles read, two channels at a time: see runtime/tvm_tiny_winograd.h."""
    rise = lift(layer, form)
    channels, count, taps = len(layer.bias), transform.columns, transform.taps
    lanes = layer.lanes(form.scale - max(rise, 0)).reshape(channels, count, SIZE, taps, -1)
    order = channel_order(lanes.shape[4])
    quads = np.where(order < 0, 0, lanes[:, :, ORDER][..., order]).swapaxes(3, 4)
    low, high = (quads[..., list(half)] for half in zip(*QUAD_PAIRS, strict=True))
    words = ((low & 0xFFFF) | ((high & 0xFFFF) << 16)).reshape(channels, count, -1)
    bias = layer.bias.astype(np.int64) << (form.bias_scale + max(-rise, 0))
    initial = np.zeros((channels, count, 1), np.int64)
    initial[:, count // 3, 0] = 0 if rise > 0 else bias  # the second of four, or the only one
    columns = np.concatenate([initial, words], axis=2).reshape(channels, -1)
    last = (*form.columns, bias) if rise > 0 else form.columns
    parts = [_by_couple(columns).swapaxes(1, 2), _by_couple(np.stack(last, axis=1))]
    stream = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return (stream.reshape(-1) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _by_couple(values: Array) -> Array:
    """Values of channels two by two; of an odd number, the last but one is there twice."""
    first = np.minimum(np.arange(0, len(values), CHANNELS), len(values) - CHANNELS)
    return values[first[:, None] + np.arange(CHANNELS)]


@dataclass(frozen=True)
class Geometry:
    """The image, and strips of tiles on it."""

    transform: Transform
    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    row: Row

    @staticmethod
    def of(
        transform: Transform, attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec
    ) -> Geometry:
        """The cheapest strips whose outputs are within reach of one register."""
        _, _, width, channels = output.shape
        largest = min(LARGEST_TILES, LARGEST_OFFSET // (2 * channels))
        return Geometry(transform, attrs, data, output, row_of(width, largest))

    @property
    def quads(self) -> int:
        """Words of four channels that a pixel fills."""
        return -(-self.data.shape[3] // QUAD)

    @property
    def lines(self) -> int:
        """Rows of such words that are gathered."""
        return self.quads * self.transform.rows

    @property
    def pairs(self) -> int:
        """Of a position: two for a word of four channels."""
        return 2 * self.quads * self.transform.taps

    @property
    def words(self) -> int:
        """Of a strip's transformed inputs."""
        return max(self.words_of(strip) for strip in (self.row.strip, self.row.last))

    def overlap(self, kernel: tuple[int, int]) -> Overlap | None:
        """Strips are gathered before they are written."""
        strips, row = self.row.strips, self.output.shape[2]
        begins = [*(i * strip.width for i, strip in enumerate(strips[:-1])), row - strips[-1].width]
        places = np.arange(max(strip.width for strip in strips))
        columns = [
            begin + np.minimum(places, strip.width - 1)
            for begin, strip in zip(begins, strips, strict=True)
        ]
        tiles = overlaps.in_rectangles(self.output, self.transform.heights, np.array(columns))
        return overlaps.windows(self.attrs, self.data, self.output, kernel, tiles)

    def words_of(self, strip: Strip) -> int:
        """The same of a strip of either length."""
        return self.quads * self.transform.words * strip.tiles


class _Strip:
    """Micro-kernels of a strip, and TIR that calls them for outputs from (row, column) on."""

    def __init__(self, geometry: Geometry, strip: Strip, outputs: Outputs, unroll: int) -> None:
        self.geometry, self.width = geometry, strip.width
        transform, zero_point = geometry.transform, geometry.attrs.input_zero_point
        _, height, width, depth = geometry.data.shape
        image = Image(height, width, depth, transform.rows, strip.columns, zero_point)
        # gathered inputs end where the transformed ones do, in one memory
        self.gathered = geometry.words_of(strip) - geometry.lines * strip.columns
        self.microkernels = (
            gather_microkernel(image),
            inputs_microkernel(transform, strip),
            tiles_microkernel(transform, geometry.pairs, strip, outputs, unroll),
        )

    def gather(
        self, x: tirx.Expr, row: tirx.Expr, column: tirx.Expr, scratch: tirx.Buffer
    ) -> tirx.Expr:
        """What lies at and around the outputs, of the image that begins at `x`."""
        top, left, _, _ = self.geometry.attrs.padding
        gathered = scratch[self.gathered]
        return call(self.microkernels[0].name, x, row - top, column - left, gathered)

    def transform(self, scratch: tirx.Buffer) -> tirx.Expr:
        """Inputs, in place."""
        geometry, gathered = self.geometry, scratch[self.gathered]
        count = geometry.quads * geometry.transform.taps
        return call(self.microkernels[1].name, gathered, scratch[0], count)

    def multiply(self, scratch: tirx.Buffer, stream: tirx.Buffer, y: tirx.Expr) -> tirx.Expr:
        """All outputs, the first at `y`."""
        return call(self.microkernels[2].name, scratch[0], stream[0], y)


def _tiled(geometry: Geometry, strip: _Strip, last: _Strip, size: int) -> tirx.PrimFunc:
    """One or two rows of outputs at a time, strip by strip."""
    batch, height, width, depth = geometry.data.shape
    _, out_height, out_width, channels = geometry.output.shape
    heights = geometry.transform.heights
    rows, count, end = -(-out_height // heights), geometry.row.count, out_width - last.width
    words, clamp = geometry.words, Clamp(geometry.attrs, geometry.output.elements)

    def row(index: tirx.Expr) -> tirx.Expr:
        first = index * heights
        return T.min(first, out_height - heights) if out_height % heights else first

    @T.prim_func(s_tir=True)
    def conv2d_winograd(
        x: T.Buffer((batch, height * width * depth), "int8"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, group in T.grid(batch, rows):
            if count > 0:
                for index in range(count):
                    T.evaluate(strip.gather(x[n, 0], row(group), index * strip.width, scratch))
                    T.evaluate(strip.transform(scratch))
                    T.evaluate(
                        strip.multiply(scratch, stream, y[n, row(group), index * strip.width, 0])
                    )
            T.evaluate(last.gather(x[n, 0], row(group), end, scratch))
            T.evaluate(last.transform(scratch))
            T.evaluate(last.multiply(scratch, stream, y[n, row(group), end, 0]))
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d_winograd
