"""Convolutions on cores with DSP instructions, weights as pairs of 16-bit halves.

Weights take two bytes each: the inner loop does not unpack anything (pair_tiles.py), and each
channel's shift goes into its weights (scaling.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tvm_tiny.schedules import requantization, scaling, tiled_conv
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.pair_tiles import CHANNELS, UNROLLED_PAIRS, tile_microkernel
from tvm_tiny.schedules.tiled_conv import Geometry

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes


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
    """The kernel for any window, stride and padding; None where its arithmetic does not fit.

    Tiles are of `pixels`, loops of `unroll` pairs.
    """
    layer = scaling.layer_of(attrs, weight.reshape(len(weight), -1), bias, multiplier, shift)
    form = scaling.choose(layer)
    geometry = Geometry(attrs, data, output, weight.shape[1:], tile=pixels)
    if form is None or not geometry.is_reachable:
        return None
    window, channels = geometry.window, geometry.channels_of_group
    order = window.order()
    values = (
        layer.weight.astype(np.int64) << form.scale[:, None],
        layer.bias.astype(np.int64) << form.bias_scale,
        np.stack(form.columns, axis=1),
    )
    return tiled_conv.kernel(
        geometry,
        np.stack([pack_stream(w, b, c, order) for w, b, c in geometry.by_group(values)]),
        lambda size: tile_microkernel(window.pairs, size, channels, len(weight), form, unroll),
    )


def pack_stream(weight: Array, bias: Array, columns: Array, order: Array) -> Array:
    """What a tile reads, two channels at a time: see runtime/tvm_tiny_pairs.h.

    Scaled weights (channels, taps) and biases, parameters (channels, n); `order` is the window's.
    """
    halves = np.where(order < 0, 0, weight[:, order])  # (channels, pairs, 2)
    words = (halves[..., 0] & 0xFFFF) | ((halves[..., 1] & 0xFFFF) << 16)
    bias, words, columns = (
        requantization.pad_channels(values, CHANNELS) for values in (bias, words, columns)
    )
    tiles = len(bias) // CHANNELS
    by_pair = words.reshape(tiles, CHANNELS, -1).swapaxes(1, 2)
    parts = [part.reshape(tiles, -1) for part in (bias, by_pair, columns)]
    stream = np.concatenate(parts, axis=1)
    return (stream.reshape(-1) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
