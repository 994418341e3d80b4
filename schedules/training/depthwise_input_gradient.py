"""tiny.depthwise_input_gradient: what a depthwise convolution's output gradient is to its input.

A tile of channels at a time: its weights become floats once, and its sums of a pixel stay in
registers over all taps.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
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
    """Tiles of 16 channels, or 8, and the rest."""
    output = infer(attrs, gradient, weight)
    size = (weight.shape[0], weight.shape[1])
    runs = (output.shape[1] + output.shape[2]) * RUN_WORDS
    return runtime_kernel(
        "depthwise_input_gradient",
        "tiny_depthwise_input_gradient",
        [("gradient", gradient), ("weight", weight)],
        output,
        constants=[("window", window_table(attrs, output.shape, gradient.shape, size))],
        scratch=floats(size[0] * size[1] * LANES + runs),
        sources=SOURCES,
    )


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
