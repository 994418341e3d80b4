"""tiny.conv2d_input_gradient: what a convolution's output gradient is to its input.

Weights are read as they lie, 24 input channels at a time: those of a block of output channels
become floats once for all pixels. They may be floats already.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import float_depthwise
from tvm_tiny.schedules.training.gradient_windows import (
    SOURCES,
    SUMS,
    ConvGradientAttributes,
    add_up,
    floats,
    shape_of,
    window_table,
)

LARGEST_BLOCK = 48  # output channels whose weights are floats at a time


def infer(attrs: ConvGradientAttributes, gradient: TensorSpec, weight: Argument) -> TensorSpec:
    """The convolution's input, as floats."""
    shape_of(gradient, attrs.layer)
    return TensorSpec((1, *attrs.input_size, weight.shape[3] * attrs.groups), "float32")


def meaning(attrs: ConvGradientAttributes, gradient: Array, weight: Array) -> Array:
    """For each input, the sum of gradient * weight over all windows that hold it."""
    kernels = weight.reshape(attrs.groups, -1, *weight.shape[1:]).astype(np.float64)
    split = gradient[0].reshape(*gradient.shape[1:3], attrs.groups, -1).astype(np.float64)
    windows = np.einsum("yxgo,gohwc->yxhwgc", split, kernels)
    windows = windows.reshape(*windows.shape[:4], -1)
    return add_up(windows, attrs, attrs.input_size).astype(np.float32)


def macs(attrs: ConvGradientAttributes, gradient: TensorSpec, weight: Argument) -> int:
    """Those of the convolution, borders included."""
    return gradient.elements * int(np.prod(weight.shape[1:]))


def kernel(attrs: ConvGradientAttributes, gradient: TensorSpec, weight: Argument) -> Kernel:
    """Panels of 24 input channels; nothing of the result is final before the end."""
    output = infer(attrs, gradient, weight)
    if float_depthwise.is_alike(attrs.groups, weight):
        return float_depthwise.input_gradient_kernel(attrs, gradient, weight, output)
    per_group = weight.shape[0] // attrs.groups
    blocks = -(-per_group // LARGEST_BLOCK)
    block = -(-per_group // blocks)
    size = (weight.shape[1], weight.shape[2])
    window = window_table(attrs, output.shape, gradient.shape, size, attrs.groups)
    kind = "float_" if weight.dtype == "float32" else ""
    return runtime_kernel(
        "conv2d_input_gradient",
        f"tiny_{kind}conv2d_input_gradient",
        [("gradient", gradient), ("weight", weight)],
        output,
        (block,),
        constants=[("window", window)],
        scratch=floats(block * SUMS),
        sources=SOURCES,
    )


CONV2D_INPUT_GRADIENT = define(
    Operator("tiny.conv2d_input_gradient", ConvGradientAttributes, infer, meaning, kernel, macs)
)
