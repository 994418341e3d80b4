"""Convolutions and dense layers on cores with DSP instructions, two channels in a 16-bit lane.

Weights take no more Flash than int8 (packed_tiles.py). Layers of one output pixel, dense layers
among them, are one call of a micro-kernel of their own; all others go tile by tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvm_tiny.schedules import requantization, scaling, tiled_conv
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.schedules.packed_tiles import LARGEST_SUM, Shape, tile_microkernel
from tvm_tiny.schedules.pair_tiles import UNROLLED_PAIRS
from tvm_tiny.schedules.tiled_conv import Geometry

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

ONE_PIXEL, ROW = Shape(1, 4), Shape(4, 1)


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    pixels: int = tiled_conv.PIXELS,
    unroll: int = UNROLLED_PAIRS,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None where packing is impossible.

    Tiles are of `pixels`, more than one, loops of `unroll` pairs.
    """
    layer = scaling.layer_of(attrs, weight.reshape(len(weight), -1), bias, multiplier, shift)
    form = scaling.rounded(layer)
    geometry = Geometry(attrs, data, output, weight.shape[1:], tile=pixels)
    lanes_fit = all(can_pack(group) for (group,) in geometry.by_group((layer.weight,)))
    if form is None or not lanes_fit or not geometry.is_reachable:
        return None
    window, channels = geometry.window, geometry.channels_of_group
    shape = ONE_PIXEL if geometry.row_pixels == 1 else ROW
    columns = (form.multiplier, form.offset, form.shifts)
    parameters = np.stack([layer.bias.astype(np.int64) << form.bias_scale, *columns], axis=1)
    groups = geometry.by_group((layer.weight, parameters))

    def multiply(size: int) -> MicroKernel:
        tile = shape if shape == ONE_PIXEL else Shape(size, ROW.couples)
        return tile_microkernel(window.pairs, tile, channels, len(weight), form, unroll)

    streams = [pack_stream(w, p, window.order(), shape) for w, p in groups]
    return tiled_conv.kernel(geometry, np.stack(streams), multiply)


def can_pack(weight: Array) -> bool:
    """Whether lanes hold 256 a + b without overflow, and sums stay below 2^23."""
    flat = requantization.pad_channels(weight, 2).astype(np.int64)
    lanes = 256 * flat[0::2] + flat[1::2]
    fits_lane = lanes.min(initial=0) >= -(1 << 15) and lanes.max(initial=0) < 1 << 15
    largest_sum = np.abs(flat).sum(axis=1).max(initial=0) * 128
    return bool(fits_lane and largest_sum < LARGEST_SUM)


def pack_stream(weight: Array, parameters: Array, order: Array, shape: Shape) -> Array:
    """What tiles read: see packed_tiles.py. Weights (channels, taps), parameters (channels, 4)."""
    flat = requantization.pad_channels(weight, 2).astype(np.int64)
    halves = np.where(order < 0, 0, (256 * flat[0::2] + flat[1::2])[:, order])
    words = (halves[..., 0] & 0xFFFF) | ((halves[..., 1] & 0xFFFF) << 16)  # (couples, pairs)
    parts: list[Array] = []
    for first in range(0, len(weight), shape.channels):
        tile = words[first // 2 : first // 2 + shape.couples]
        parts += [_in_order(tile, shape), parameters[first : first + shape.channels].reshape(-1)]
    stream = np.concatenate(parts)
    return (stream & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _in_order(words: Array, shape: Shape) -> Array:
    """Words (couples, pairs) as a tile reads them: two pairs of a couple at a time for a pixel."""
    if shape.pixels > 1:
        return words.reshape(-1)
    pairs = words.shape[1]
    even = pairs - pairs % 2
    by_two = words[:, :even].reshape(len(words), -1, 2).swapaxes(0, 1).reshape(-1)
    return np.concatenate([by_two, words[:, even:].reshape(-1)])
