"""tiny.depthwise_input_gradient: what a depthwise convolution's output gradient is to its input.

A tile of channels at a time: its weights become floats once, and its sums of a pixel stay in
registers over all taps. Where input and output are as large as each other, the result may lie over
the gradient: a tile of it is copied before the first of the same bytes is written.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import IN_PLACE
from tvm_tiny.schedules.training.gradient_windows import (
    LANES,
    RUN_WORDS,
    SOURCES,
    DepthwiseGradientAttributes,
    add_up,
    floats,
    shape_of,
    window_table,
)

# Copies are worth their scratch up to these bytes, or this part of what they save.
SMALL_BYTES, SHARE = 8192, 8


def infer(attrs: DepthwiseGradientAttributes, gradient: TensorSpec, weight: Argument) -> TensorSpec:
    """The convolution's input, as floats."""
    channels = shape_of(gradient, attrs.layer)[3] // attrs.channel_multiplier
    return TensorSpec((1, *attrs.input_size, channels), "float32")


def meaning(attrs: DepthwiseGradientAttributes, gradient: Array, weight: Array) -> Array:
    """For each input, the sum of gradient * weight over all windows that hold it."""
    windows = gradient[0, :, :, None, None].astype(np.float64) * weight.astype(np.float64)
    per_input = windows.reshape(*windows.shape[:4], -1, attrs.channel_multiplier)
    return add_up(per_input.sum(axis=-1), attrs, attrs.input_size).astype(np.float32)


def macs(attrs: DepthwiseGradientAttributes, gradient: TensorSpec, weight: Argument) -> int:
    """Those of the convolution, borders included."""
    return gradient.elements * int(np.prod(weight.shape[:2]))


def kernel(attrs: DepthwiseGradientAttributes, gradient: TensorSpec, weight: Argument) -> Kernel:
    """Tiles of 16 channels, or 8, and the rest; in place where tiles can be copied first."""
    output = infer(attrs, gradient, weight)
    size = (weight.shape[0], weight.shape[1])
    lanes, copied = tile(gradient, output, size[0] * size[1])
    runs = (output.shape[1] + output.shape[2]) * RUN_WORDS
    others = [None] * isinstance(weight, TensorSpec)
    return runtime_kernel(
        "depthwise_input_gradient",
        "tiny_depthwise_input_gradient",
        [("gradient", gradient), ("weight", weight)],
        output,
        (lanes, copied > 0),
        constants=[("window", window_table(attrs, output.shape, gradient.shape, size))],
        scratch=floats((size[0] * size[1] + copied) * lanes + runs),
        sources=SOURCES,
        overlaps=(IN_PLACE if copied else None, *others),
    )


def tile(gradient: TensorSpec, output: TensorSpec, taps: int) -> tuple[int, int]:
    """Channels of a tile, and how many pixels of its gradient are copied: all of them or none."""
    pixels = gradient.elements // gradient.shape[3]
    for lanes, share in ((LANES, SHARE), (LANES // 2, SHARE // 2)):
        size = floats((taps + pixels) * lanes).nbytes
        if gradient.shape == output.shape and size <= max(SMALL_BYTES, output.nbytes // share):
            return lanes, pixels
    return LANES, 0


DEPTHWISE_INPUT_GRADIENT = define(
    Operator(
        "tiny.depthwise_input_gradient",
        DepthwiseGradientAttributes,
        infer,
        meaning,
        kernel,
        macs,
    )
)
