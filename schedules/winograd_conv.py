"""Exact 3x3 convolutions by Winograd's F(2x2, 3x3): 16 products for 36, in integers.

With d a tile of 4 x 4 inputs and g a kernel, Y = A^T [(G g G^T) . (B^T d B)] A are 2 x 2 outputs.
G holds halves; 2G is integer, which makes all sums four times as large: scaled weights want a
factor anyway (scaling.py), and where less than four is wanted, sums are halved, without remainder.
Nothing is rounded anywhere. U = (2G) g (2G)^T fits 16 bits, and where the real weights do not prove
that it also does scaled, sums are scaled instead, behind the loop. Inputs never exceed 512, and
sums may wrap as long as outputs fit, which the real weights have to prove (reach).

Tiles lie side by side in strips of up to four; those at the lower and right end of images of odd
sizes move back inside and compute some outputs twice. The zero point is folded into the bias: it
enters at the position (1, 1), which all four outputs of a tile take with a plus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import requantization, scaling
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.pair_windows import QUAD_PAIRS
from tvm_tiny.schedules.requantization import Clamp
from tvm_tiny.schedules.winograd_gather import QUAD, Image, channel_order, gather_microkernel
from tvm_tiny.schedules.winograd_inputs import ROW_ORDER, inputs_microkernel
from tvm_tiny.schedules.winograd_strips import LARGEST_TILES, POSITIONS, SIZE, Row, Strip, row_of
from tvm_tiny.schedules.winograd_tiles import CHANNELS, Outputs, tiles_microkernel

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.h", "tvm_tiny_winograd.c", "tvm_tiny_winograd.h")
DOUBLED_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
WEIGHT_BITS = 2  # two for each axis
LEAST_DEPTH = 3  # with less, there is little to multiply
LARGEST_OFFSET = 4095  # of a store from its base register


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel | None:
    """The kernel; None for other windows, sizes that it is not made for, and where not proved."""
    if not is_made_for(attrs, data, output, weight):
        return None
    layer = layer_of(attrs, weight, bias, multiplier, shift)
    form = scaling.choose(layer)
    if form is None or not is_proved(layer, form):
        return None
    geometry = Geometry.of(attrs, data, output)
    pitch = output.shape[2] * output.shape[3]
    outputs = Outputs(output.shape[3], pitch, form, lift(layer, form))
    strip, last = (_Strip(geometry, s, outputs) for s in (geometry.row.strip, geometry.row.last))
    stream = pack_stream(layer, form)
    return Kernel(
        "conv2d_winograd",
        _tiled(geometry, strip, last, len(stream)),
        (("stream", stream),),
        TensorSpec((geometry.words,), "int32"),
        SOURCES,
        strip.microkernels + last.microkernels,
    )


def is_made_for(
    attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec, weight: Array
) -> bool:
    """Whether windows are 3x3 at stride one, and sizes enough for one tile and one word."""
    is_plain = attrs.groups == 1 and attrs.strides == (1, 1) and attrs.dilation == (1, 1)
    _, height, width, channels = output.shape
    is_large = min(height, width, channels) >= 2 and data.shape[3] >= LEAST_DEPTH
    is_near = 2 * channels <= LARGEST_OFFSET
    return is_plain and weight.shape[1:3] == (3, 3) and is_large and is_near


def transformed(weight: Array) -> Array:
    """(2G) g (2G)^T of OHWI weights: (channels, 4, 4, depth), four times the exact products."""
    return np.einsum("iy,oyxc,jx->oijc", DOUBLED_G, weight.astype(np.int64), DOUBLED_G)


def layer_of(
    attrs: QConv2DAttributes, weight: Array, bias: Array, multiplier: Array, shift: Array
) -> scaling.Layer:
    """What scalings are chosen from, with transformed weights."""
    folded = requantization.fold_zero_point(bias, weight, attrs)
    reach = requantization.reach(weight.reshape(len(weight), -1), folded, attrs)
    flat = transformed(weight).reshape(len(weight), -1)
    return scaling.Layer(attrs, flat, folded, reach, multiplier, -shift, WEIGHT_BITS)


def lift(layer: scaling.Layer, form: scaling.Scaling) -> int:
    """Bits that sums have to rise until they are what the form wants; negative: to sink."""
    wanted = int(form.scale.min()) - WEIGHT_BITS
    return wanted if wanted < 0 or not np.all(layer.fits(form.scale)) else 0


def is_proved(layer: scaling.Layer, form: scaling.Scaling) -> bool:
    """Whether sums fit words before they sink; weights that are not scaled always fit lanes."""
    bits = form.bias_scale + max(-lift(layer, form), 0)
    return bool(np.all(layer.reach.astype(object) << bits.astype(object) < 1 << 31))


def pack_stream(layer: scaling.Layer, form: scaling.Scaling) -> Array:
    """What tiles read, two channels at a time: see runtime/tvm_tiny_winograd.h."""
    rise = lift(layer, form)
    depth = layer.weight.shape[1] // POSITIONS
    lanes = layer.lanes(form.scale - max(rise, 0)).reshape(len(layer.bias), SIZE, SIZE, depth)
    order = channel_order(depth)
    by_column = lanes.swapaxes(1, 2)[:, :, ROW_ORDER, :]
    quads = np.where(order < 0, 0, by_column[..., order])
    low, high = (quads[..., list(half)] for half in zip(*QUAD_PAIRS, strict=True))
    words = ((low & 0xFFFF) | ((high & 0xFFFF) << 16)).reshape(len(lanes), SIZE, -1)
    bias = layer.bias.astype(np.int64) << (form.bias_scale + max(-rise, 0))
    initial = np.zeros((len(lanes), SIZE, 1), np.int64)
    initial[:, 1, 0] = 0 if rise > 0 else bias
    columns = np.concatenate([initial, words], axis=2).reshape(len(lanes), -1)
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

    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    row: Row

    @staticmethod
    def of(attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec) -> Geometry:
        """The cheapest strips whose outputs are within reach of one register."""
        _, _, width, channels = output.shape
        largest = min(LARGEST_TILES, LARGEST_OFFSET // (2 * channels))
        return Geometry(attrs, data, output, row_of(width, largest))

    @property
    def quads(self) -> int:
        """Words of four channels that a pixel fills."""
        return -(-self.data.shape[3] // QUAD)

    @property
    def words(self) -> int:
        """Of a strip's transformed inputs."""
        return max(self.words_of(strip) for strip in (self.row.strip, self.row.last))

    def words_of(self, strip: Strip) -> int:
        """The same of a strip of either length."""
        return 2 * self.quads * POSITIONS * strip.tiles


class _Strip:
    """Micro-kernels of a strip, and TIR that calls them for outputs from (row, column) on."""

    def __init__(self, geometry: Geometry, strip: Strip, outputs: Outputs) -> None:
        self.geometry, self.width = geometry, strip.width
        _, height, width, depth = geometry.data.shape
        image = Image(height, width, depth, strip.columns, geometry.attrs.input_zero_point)
        # gathered inputs end where the transformed ones do, in one memory
        self.gathered = geometry.words_of(strip) - geometry.quads * SIZE * strip.columns
        self.microkernels = (
            gather_microkernel(image),
            inputs_microkernel(strip),
            tiles_microkernel(2 * geometry.quads, strip, outputs),
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
        gathered, quads = scratch[self.gathered], self.geometry.quads
        return call(self.microkernels[1].name, gathered, scratch[0], quads)

    def multiply(self, scratch: tirx.Buffer, stream: tirx.Buffer, y: tirx.Expr) -> tirx.Expr:
        """All outputs, the first at `y`."""
        return call(self.microkernels[2].name, scratch[0], stream[0], y)


def _tiled(geometry: Geometry, strip: _Strip, last: _Strip, size: int) -> tirx.PrimFunc:
    """Two rows of outputs at a time, strip by strip."""
    batch, height, width, depth = geometry.data.shape
    _, out_height, out_width, channels = geometry.output.shape
    rows, count, end = -(-out_height // 2), geometry.row.count, out_width - last.width
    words, clamp = geometry.words, Clamp(geometry.attrs, geometry.output.elements)

    def row(index: tirx.Expr) -> tirx.Expr:
        return T.min(index * 2, out_height - 2) if out_height % 2 else index * 2

    @T.prim_func(s_tir=True)
    def conv2d_winograd(
        x: T.Buffer((batch, height * width * depth), "int8"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, pair in T.grid(batch, rows):
            if count > 0:
                for index in range(count):
                    T.evaluate(strip.gather(x[n, 0], row(pair), index * strip.width, scratch))
                    T.evaluate(strip.transform(scratch))
                    T.evaluate(
                        strip.multiply(scratch, stream, y[n, row(pair), index * strip.width, 0])
                    )
            T.evaluate(last.gather(x[n, 0], row(pair), end, scratch))
            T.evaluate(last.transform(scratch))
            T.evaluate(last.multiply(scratch, stream, y[n, row(pair), end, 0]))
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d_winograd
