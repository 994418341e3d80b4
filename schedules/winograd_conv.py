"""Exact 3x3 convolutions by Winograd's F(2x2, 3x3): 16 products for 36, in integers.

With d a tile of 4 x 4 inputs and g a kernel, Y = A^T [(G g G^T) . (B^T d B)] A are 2 x 2 outputs.
G holds halves; 2G is integer, which makes all sums four times as large: scaled weights want a
factor anyway (scaling.py), and where less than four is wanted, sums are halved, without remainder.
Nothing is rounded anywhere. What has to be proved of the real weights is that U = (2G) g (2G)^T,
scaled, fits 16 bits; inputs never exceed 512, and sums may wrap as long as outputs fit (reach).

Tiles lie side by side, up to four; those at the lower and right end of images of odd sizes move
back inside and compute some outputs twice. The zero point is folded into the bias: it enters at
the position (1, 1), which all four outputs of a tile take with a plus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps, requantization, scaling
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.pair_windows import QUAD_PAIRS
from tvm_tiny.schedules.requantization import Clamp
from tvm_tiny.schedules.tiled_conv import PIXELS
from tvm_tiny.schedules.winograd_gather import Image, gather_microkernel
from tvm_tiny.schedules.winograd_inputs import (
    LARGEST_TILES,
    POSITIONS,
    ROW_ORDER,
    SIZE,
    columns_of,
    inputs_microkernel,
)
from tvm_tiny.schedules.winograd_tiles import CHANNELS, tiles_microkernel

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pairs.h", "tvm_tiny_winograd.c", "tvm_tiny_winograd.h")
DOUBLED_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
WEIGHT_BITS = 2  # two for each axis
QUAD = 4  # channels that are gathered and expanded together
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
    """The kernel; None where it is not faster than the direct one, or not proved."""
    geometry = _Geometry.of(attrs, data, output, weight)
    if geometry is None or not geometry.pays:
        return None
    layer = layer_of(attrs, weight, bias, multiplier, shift)
    form = scaling.choose(layer)
    if form is None or not is_proved(layer, form):
        return None
    function, microkernels = _tiled(geometry, form)
    return Kernel(
        "conv2d_winograd",
        function,
        (("stream", pack_stream(layer, form)),),
        TensorSpec((geometry.words,), "int32"),
        SOURCES,
        tuple(microkernels),
        (geometry.overlap,),
    )


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


def halvings(form: scaling.Scaling) -> int:
    """Bits by which sums are larger than the form wants them."""
    return max(0, WEIGHT_BITS - int(form.scale.min()))


def is_proved(layer: scaling.Layer, form: scaling.Scaling) -> bool:
    """Whether weights are 16-bit lanes and sums fit words; rounded forms do not ask for lanes."""
    sums = layer.reach.astype(object) << (form.bias_scale + halvings(form)).astype(object)
    return bool(np.all(layer.fits(form.scale)) and np.all(sums < 1 << 31))


def pack_stream(layer: scaling.Layer, form: scaling.Scaling) -> Array:
    """What tiles read, two channels at a time: see runtime/tvm_tiny_winograd.h."""
    lanes = layer.lanes(form.scale).reshape(len(layer.bias), SIZE, SIZE, -1, QUAD)
    by_column = lanes.swapaxes(1, 2)[:, :, ROW_ORDER, :, :]
    low, high = (by_column[..., list(half)] for half in zip(*QUAD_PAIRS, strict=True))
    words = ((low & 0xFFFF) | ((high & 0xFFFF) << 16)).reshape(len(lanes), SIZE, -1)
    initial = np.zeros((len(lanes), SIZE, 1), np.int64)
    initial[:, 1, 0] = layer.bias.astype(np.int64) << (form.bias_scale + halvings(form))
    columns = np.concatenate([initial, words], axis=2).reshape(len(lanes), -1)
    rows = np.concatenate([columns, np.stack(form.columns, axis=1)], axis=1)
    by_group = rows.reshape(-1, CHANNELS, rows.shape[1])
    split = np.split(by_group, [columns.shape[1]], axis=2)
    parts = [split[0].swapaxes(1, 2), split[1]]
    stream = np.concatenate([part.reshape(len(by_group), -1) for part in parts], axis=1)
    return (stream.reshape(-1) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _products(pixels: int) -> int:
    """Instructions that load and multiply a pair of `pixels` pixels and two channels."""
    return 1 + -(-pixels // 2) + 2 * pixels if pixels else 0


@dataclass(frozen=True)
class _Geometry:
    attrs: QConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    tiles: int  # side by side

    @staticmethod
    def of(
        attrs: QConv2DAttributes, data: TensorSpec, output: TensorSpec, weight: Array
    ) -> _Geometry | None:
        """None for layers of other windows, and for sizes that the code is not made for."""
        is_plain = attrs.groups == 1 and attrs.strides == (1, 1) and attrs.dilation == (1, 1)
        _, height, width, channels = output.shape
        if not is_plain or weight.shape[1:3] != (3, 3) or min(height, width) < 2:
            return None
        if data.shape[3] % QUAD or channels % CHANNELS:
            return None
        if 2 * LARGEST_TILES * channels > LARGEST_OFFSET:
            return None
        choices = range(1, min(LARGEST_TILES, width // 2) + 1)
        return min(
            (_Geometry(attrs, data, output, tiles) for tiles in choices),
            key=lambda geometry: geometry.instructions,
        )

    @property
    def groups(self) -> tuple[int, int]:
        """Groups of tiles: rows, columns."""
        _, height, width, _ = self.output.shape
        return -(-height // 2), -(-width // (2 * self.tiles))

    @property
    def pairs(self) -> int:
        """Of input channels."""
        return self.data.shape[3] // 2

    @property
    def words(self) -> int:
        """Of transformed inputs."""
        return self.pairs * POSITIONS * self.tiles

    @property
    def gathered(self) -> int:
        """Where gathered inputs begin; they end where the transformed ones do, in one memory."""
        return self.words - self.pairs // 2 * SIZE * columns_of(self.tiles)

    @property
    def overlap(self) -> Overlap | None:
        """Tiles are gathered before they are written."""
        tiles = overlaps.in_rectangles(self.output, (2, 2 * self.tiles))
        return overlaps.windows(self.attrs, self.data, self.output, (SIZE - 1, SIZE - 1), tiles)

    @property
    def instructions(self) -> int:
        """About how many, for one image."""
        tiles, columns = self.tiles, columns_of(self.tiles)
        inputs = self.pairs * (20 * columns + 12 * tiles + 20)
        products = POSITIONS * self.pairs * _products(tiles)
        outputs = 60 * tiles + 100
        per_group = inputs + self.output.shape[3] // CHANNELS * (products + outputs)
        return int(np.prod(self.groups)) * per_group

    @property
    def pays(self) -> bool:
        """Whether that is less than pair_conv.py takes."""
        _, height, width, channels = self.output.shape
        taps, direct = 9 * self.pairs, 0
        for pixels in (PIXELS,) * (width // PIXELS) + (width % PIXELS,):
            per_group = taps * _products(pixels) + 10 * pixels
            direct += taps * pixels * 3 + channels // CHANNELS * per_group
        return self.instructions < height * direct


def _tiled(geometry: _Geometry, form: scaling.Scaling) -> tuple[tirx.PrimFunc, list[MicroKernel]]:
    """All groups of tiles: gather, transform, then all output channels."""
    batch, height, width, depth = geometry.data.shape
    _, out_height, out_width, channels = geometry.output.shape
    rows, columns = geometry.groups
    group_width, pairs, attrs = 2 * geometry.tiles, geometry.pairs, geometry.attrs
    image = Image(height, width, depth, columns_of(geometry.tiles), attrs.input_zero_point)
    gather, inputs = gather_microkernel(image), inputs_microkernel(geometry.tiles)
    pitch = out_width * channels
    tiles = tiles_microkernel(pairs, geometry.tiles, channels, pitch, form, halvings(form))
    words, gathered, quads = geometry.words, geometry.gathered, depth // QUAD
    size = channels * (SIZE * (1 + SIZE * pairs) + len(form.columns))
    clamp = Clamp(attrs, geometry.output.elements)

    def row(index: tirx.Expr) -> tirx.Expr:
        return T.min(index * 2, out_height - 2) if out_height % 2 else index * 2

    def column(index: tirx.Expr) -> tirx.Expr:
        first = index * group_width
        return T.min(first, out_width - group_width) if out_width % group_width else first

    @T.prim_func(s_tir=True)
    def conv2d_winograd(
        x: T.Buffer((batch, height * width * depth), "int8"),
        stream: T.Buffer((size,), "int32"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, row_group, column_group in T.grid(batch, rows, columns):
            T.evaluate(
                call(
                    gather.name,
                    x[n, 0],
                    row(row_group) - attrs.padding[0],
                    column(column_group) - attrs.padding[1],
                    scratch[gathered],
                )
            )
            T.evaluate(call(inputs.name, scratch[gathered], scratch[0], quads))
            T.evaluate(
                call(
                    tiles.name,
                    scratch[0],
                    stream[0],
                    y[n, row(row_group), column(column_group), 0],
                )
            )
        T.evaluate(clamp.call(y[0, 0, 0, 0]))

    return conv2d_winograd, [gather, inputs, tiles]
