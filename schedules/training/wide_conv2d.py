"""tiny.wide_conv2d: int8 convolution to int16, with weights and biases that may change at run time.

The arithmetic is that of tiny.qconv2d up to the clamp. Weights are read as they lie, OHWI.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import overlaps, qconv2d
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Kernel,
    Operator,
    Overlap,
    Reaches,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.qconv2d import QConv2DAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide
from tvm_tiny.schedules.window import reach_of

SOURCES = (*wide.CONVOLUTION_SOURCES, "tvm_tiny_wide_conv.c")
QUAD = 4  # taps in a word of weights
TILES = (1, 2, 4, 6)
MOST_SCRATCH = 8192


def infer(
    attrs: QConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Argument
) -> TensorSpec:
    """(batch, out height, out width, output channels) int16."""
    return wide.as_wide(qconv2d.infer(attrs, data, weight))


def meaning(
    attrs: QConv2DAttributes,
    data: Array,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Array:
    """sum((x - input_zero_point) * w) + bias per output channel, requantised, not clamped."""
    return wide.apply(qconv2d.sums(attrs, data, weight), bias, multiplier, shift, attrs)


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    weight: Argument,
    bias: Argument,
    multiplier: Array,
    shift: Array,
) -> Kernel:
    """A call of the runtime, which takes up to six pixels at a time."""
    output = infer(attrs, data, weight)
    taps, pixels = int(np.prod(weight.shape[1:])), output.shape[1] * output.shape[2]
    tile, window = _tile(taps, pixels), (weight.shape[1], weight.shape[2])
    halves = tile * -(-taps // QUAD) * QUAD
    return runtime_kernel(
        "wide_conv2d",
        "tiny_wide_conv2d",
        [("data", data), ("weight", weight), ("bias", bias)],
        output,
        constants=[
            wide.scaling_table(multiplier, shift),
            wide.layer_table(attrs, data, output, window, taps, tile),
        ],
        scratch=TensorSpec((halves,), "int16"),
        sources=SOURCES,
        overlaps=(
            _overlap(attrs, data, output, window, tile),
            *(None for a in (weight, bias) if isinstance(a, TensorSpec)),
        ),
    )


def _tile(taps: int, pixels: int) -> int:
    """Pixels of the largest tile that a layer has, or that the scratch may hold."""
    room = max(MOST_SCRATCH // (2 * taps), 1)
    return max(size for size in TILES if size <= min(room, pixels))


def _overlap(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    window: tuple[int, int],
    tile: int,
) -> Overlap | None:
    """Tiles are expanded before their first output is written; groups read them again."""
    if attrs.groups > 1:
        return None
    pixels = overlaps.tile_of(output.shape[1] * output.shape[2], tile)
    images = np.arange(data.shape[0])[:, None, None] * (output.shape[1] * output.shape[2])
    return overlaps.windows(
        attrs, data, output, window, (images + pixels).reshape(-1, pixels.shape[1])
    )


def reaches(
    attrs: QConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Argument
) -> Reaches:
    """Windows of the image; weights and biases in RAM are read whole."""
    window = reach_of(attrs, (weight.shape[1], weight.shape[2]), attrs.input_zero_point)
    return (window, *(None for a in (weight, *rest) if isinstance(a, TensorSpec)))


WIDE_CONV2D = define(
    Operator(
        "tiny.wide_conv2d",
        QConv2DAttributes,
        infer,
        meaning,
        kernel,
        qconv2d.macs,
        reaches=reaches,
    )
)
