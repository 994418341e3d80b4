"""Kernels of float depthwise convolutions, as which float models have groups of one channel.

Sixteen or eight channels side by side, of which each tap's sums stay in registers over all pixels.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.gradient_windows import (
    LANES,
    RUN_WORDS,
    SOURCES,
    WeightGradientAttributes,
    floats,
    window_table,
)

DEPTHWISE_SOURCES = (*SOURCES, "tvm_tiny_float_depthwise.h", "tvm_tiny_float_depthwise.c")


def gradient_kernel(
    attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> Kernel:
    """The gradient of weights (output channels, kernel height, kernel width, 1)."""
    constants, scratch = parts(attrs, data, gradient)
    return runtime_kernel(
        "conv2d_weight_gradient",
        "tiny_float_depthwise_weight_gradient",
        [("data", data), ("gradient", gradient)],
        TensorSpec((gradient.shape[3], *attrs.kernel_size, 1), "float32"),
        constants=constants,
        scratch=scratch,
        sources=DEPTHWISE_SOURCES,
    )


def parts(
    attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> tuple[list[tuple[str, Array]], TensorSpec]:
    """Constants and scratch of the gradient's and the update's kernels."""
    window = window_table(attrs, data.shape, gradient.shape, attrs.kernel_size)
    taps = int(np.prod(attrs.kernel_size))
    return [("window", window)], floats(taps * LANES + attrs.kernel_size[1] * RUN_WORDS)
