"""tiny.conv2d_weight_gradient: what a convolution's output gradient is to its weights.

Columns are what one output channel has weights for. Inputs of up to 24 of them become floats once,
for a chunk of pixels, and sums of an output channel stay in registers over the chunk. They may be
floats already.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import float_depthwise
from tvm_tiny.schedules.training.gradient_windows import (
    FLOAT_SOURCES,
    SOURCES,
    SUMS,
    WeightGradientAttributes,
    floats,
    shape_of,
    taps_of,
    window_table,
)

LARGEST_CHUNK = 64  # pixels
ROWS, MOST_ROWS = 8, 16  # output channels at a time; more where the pixels are many chunks


def infer(attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec) -> TensorSpec:
    """(output channels, kernel height, kernel width, chosen channels) as floats."""
    depth = shape_of(data, attrs.layer)[3] // attrs.groups
    shape = (gradient.shape[3], *attrs.kernel_size, len(attrs.chosen(depth)))
    return TensorSpec(shape, "float32")


def meaning(attrs: WeightGradientAttributes, data: Array, gradient: Array) -> Array:
    """Sums of (x - input_zero_point) * gradient over all pixels."""
    windows = taps_of(data, attrs, attrs.kernel_size, attrs.input_zero_point)
    depth = data.shape[3] // attrs.groups
    windows = windows.reshape(*windows.shape[:4], attrs.groups, depth)
    windows = windows[..., list(attrs.chosen(depth))]
    split = gradient[0].reshape(*gradient.shape[1:3], attrs.groups, -1).astype(np.float64)
    sums = np.einsum("yxhwgc,yxgo->gohwc", windows, split)
    return sums.reshape(-1, *sums.shape[2:]).astype(np.float32)


def macs(attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec) -> int:
    """Those of the convolution with the chosen channels alone, borders included."""
    pixels = gradient.shape[1] * gradient.shape[2]
    return infer(attrs, data, gradient).elements * pixels


def kernel(attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec) -> Kernel:
    """The result row by row; of depthwise convolutions of floats, tiles of channels."""
    is_float = data.dtype == "float32"
    if is_float and is_depthwise(attrs, data):
        return float_depthwise.weight_gradient_kernel(attrs, data, gradient)
    numbers, constants, scratch = parts(attrs, data, gradient)
    return runtime_kernel(
        "conv2d_weight_gradient",
        f"tiny_{'float_' if is_float else ''}conv2d_weight_gradient",
        [("data", data), ("gradient", gradient)],
        infer(attrs, data, gradient),
        numbers[1:] if is_float else numbers,  # floats have no zero point
        constants=constants,
        scratch=scratch,
        sources=FLOAT_SOURCES if is_float else SOURCES,
    )


def is_depthwise(attrs: WeightGradientAttributes, data: TensorSpec) -> bool:
    """Whether each group has one input channel."""
    return attrs.groups == data.shape[3] > 1


def parts(
    attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> tuple[tuple[int, ...], list[tuple[str, Array]], TensorSpec]:
    """Numbers, constants and scratch of the gradient's and the update's kernels."""
    window = window_table(attrs, data.shape, gradient.shape, attrs.kernel_size, attrs.groups)
    channels = np.array(attrs.chosen(data.shape[3] // attrs.groups), np.int16)
    pixels = gradient.shape[1] * gradient.shape[2]
    chunk = min(pixels, LARGEST_CHUNK)
    rows = ROWS if pixels <= LARGEST_CHUNK else MOST_ROWS
    numbers = (attrs.input_zero_point, len(channels), chunk, rows)
    return numbers, [("channels", channels), ("window", window)], floats((chunk + rows) * SUMS)


CONV2D_WEIGHT_GRADIENT = define(
    Operator("tiny.conv2d_weight_gradient", WeightGradientAttributes, infer, meaning, kernel, macs)
)
