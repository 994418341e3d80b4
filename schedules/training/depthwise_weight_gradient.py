"""tiny.depthwise_weight_gradient: what a depthwise convolution's output gradient is to its weights.

A tile of channels at a time; each row of the input becomes floats once, and goes into the sums of
all taps that see it.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.gradient_windows import (
    LANES,
    RUN_WORDS,
    SOURCES,
    DepthwiseWeightGradientAttributes,
    floats,
    shape_of,
    taps_of,
    window_table,
)

LARGEST_CHANNEL = 96  # floats of one of 16 channels: its taps and a row of its inputs


def infer(
    attrs: DepthwiseWeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> TensorSpec:
    """(kernel height, kernel width, output channels) as floats."""
    shape_of(data, attrs.layer)
    return TensorSpec((*attrs.kernel_size, gradient.shape[3]), "float32")


def meaning(attrs: DepthwiseWeightGradientAttributes, data: Array, gradient: Array) -> Array:
    """Sums of (x - input_zero_point) * gradient over all pixels."""
    windows = taps_of(data, attrs, attrs.kernel_size, attrs.input_zero_point)
    windows = np.repeat(windows, gradient.shape[3] // data.shape[3], axis=-1)
    sums = np.einsum("yxhwc,yxc->hwc", windows, gradient[0].astype(np.float64))
    return sums.astype(np.float32)


def macs(attrs: DepthwiseWeightGradientAttributes, data: TensorSpec, gradient: TensorSpec) -> int:
    """Those of the convolution, borders included."""
    return gradient.elements * int(np.prod(attrs.kernel_size))


def kernel(
    attrs: DepthwiseWeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> Kernel:
    """Tiles of 16 channels, or 8, and the rest."""
    numbers, constants, scratch = parts(attrs, data, gradient)
    return runtime_kernel(
        "depthwise_weight_gradient",
        "tiny_depthwise_weight_gradient",
        [("data", data), ("gradient", gradient)],
        infer(attrs, data, gradient),
        numbers,
        constants=constants,
        scratch=scratch,
        sources=SOURCES,
    )


def parts(
    attrs: DepthwiseWeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> tuple[tuple[int, ...], list[tuple[str, Array]], TensorSpec]:
    """Numbers, constants and scratch of the gradient's and the update's kernels."""
    taps = int(np.prod(attrs.kernel_size))
    window = window_table(attrs, data.shape, gradient.shape, attrs.kernel_size)
    each = taps + data.shape[2]  # floats of a channel
    lanes = LANES if each <= LARGEST_CHANNEL else LANES // 2
    scratch = floats(each * lanes + attrs.kernel_size[1] * RUN_WORDS)
    return (attrs.input_zero_point, lanes), [("window", window)], scratch


DEPTHWISE_WEIGHT_GRADIENT = define(
    Operator(
        "tiny.depthwise_weight_gradient",
        DepthwiseWeightGradientAttributes,
        infer,
        meaning,
        kernel,
        macs,
    )
)
