"""Convolutions and dense layers on cores with long multiplies but no DSP instructions.

Two pixels, or two channels of a layer of one pixel, share a word; one multiply gives the products
of both (long_tiles.py). The loops are those of tiled_conv.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tvm_tiny.schedules import long_scaling, scaling, tiled_conv
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.long_tiles import LARGEST_SUM, Job, Shape, tile_microkernel
from tvm_tiny.schedules.long_windows import FIELD_BITS
from tvm_tiny.schedules.microkernel import MicroKernel
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
    one_pixel: Shape = Shape.BYTES,
) -> Kernel | None:
    """The kernel for any window, stride and padding; None where its arithmetic does not fit.

    `one_pixel` is how weights of layers of one pixel lie; None for other layers with words.
    """
    layer = scaling.layer_of(attrs, weight.reshape(len(weight), -1), bias, multiplier, shift)
    form = long_scaling.choose(layer)
    geometry = Geometry(attrs, data, output, weight.shape[1:], has_couples=True)
    shape = one_pixel if geometry.row_pixels == 1 else Shape.PIXELS
    is_asked = one_pixel in (shape, Shape.BYTES)
    if form is None or not is_asked or not _fits(layer.weight) or not geometry.is_reachable:
        return None
    channels, taps = geometry.channels_of_group, layer.weight.shape[1]
    columns = (form.multiplier, form.offset, form.scale)
    if isinstance(form, long_scaling.LongRounded):
        columns = (form.multiplier, form.offset, form.shifts)
    parameters = np.stack([layer.bias.astype(np.int64) << form.bias_scale, *columns], axis=1)

    def multiply(pixels: int) -> MicroKernel:
        return tile_microkernel(Job(shape, pixels, taps, channels, len(weight), form))

    groups = geometry.by_group((layer.weight, parameters))
    return tiled_conv.kernel(
        geometry, np.stack([pack_stream(w, p, shape) for w, p in groups]), multiply
    )


words_kernel = partial(kernel, one_pixel=Shape.WORDS)


def _fits(weight: Array) -> bool:
    """Whether no sum leaves the low field, for any input."""
    largest = np.abs(weight.astype(np.int64)).sum(axis=1).max(initial=0) * 128
    return bool(largest < LARGEST_SUM)


def pack_stream(weight: Array, parameters: Array, shape: Shape) -> Array:
    """What tiles read: see long_tiles.py. Weights (channels, taps), parameters (channels, 4)."""
    parts: list[Array] = []
    for first in range(0, len(weight), shape.channels):
        tile = weight[first : first + shape.channels]
        words = _couples(tile) if shape is Shape.WORDS else _bytes(tile)
        parts += [words, parameters[first : first + shape.channels].reshape(-1)]
    stream = np.concatenate(parts)
    return (stream & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _bytes(tile: Array) -> Array:
    """Tap by tap, filled up to whole words."""
    flat = tile.T.reshape(-1).astype(np.int8)
    padded = np.concatenate([flat, np.zeros(-len(flat) % 4, np.int8)])
    return padded.view("<i4").astype(np.int64)


def _couples(tile: Array) -> Array:
    """Tap by tap, two channels in a word."""
    wide = tile.astype(np.int64)
    padded = np.concatenate([wide, np.zeros((len(wide) % 2, wide.shape[1]), np.int64)])
    return (padded[0::2] + (padded[1::2] << FIELD_BITS)).T.reshape(-1)
