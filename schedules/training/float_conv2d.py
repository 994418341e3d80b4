"""tiny.float_conv2d: a convolution of floats, with any groups; its weights may be states.

Weights of up to 24 output channels are turned once for all pixels, and sums stay in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training import float_depthwise
from tvm_tiny.schedules.training.gradient_windows import (
    SOURCES,
    SUMS,
    floats,
    shape_of,
    window_table,
)
from tvm_tiny.schedules.window import WindowAttributes, patches

LARGEST_BLOCK = 48  # input channels whose weights are turned at a time


@dataclass(frozen=True)
class FloatConv2DAttributes(WindowAttributes):
    """The window, and groups of channels."""

    groups: int = 1


def infer(
    attrs: FloatConv2DAttributes, data: TensorSpec, weight: Argument, bias: Argument
) -> TensorSpec:
    """(1, out height, out width, output channels) float32."""
    _, height, width, _ = shape_of(data, attrs.layer)
    size = attrs.output_size((height, width), (weight.shape[1], weight.shape[2]))
    return TensorSpec((1, *size, weight.shape[0]), "float32")


def meaning(attrs: FloatConv2DAttributes, data: Array, weight: Array, bias: Array) -> Array:
    """Sums of data * weight over windows, with a border of zeros, and the bias."""
    windows = patches(data.astype(np.float64), weight.shape[1:3], attrs, 0)[0]
    windows = windows.reshape(*windows.shape[:4], attrs.groups, -1)
    kernels = weight.reshape(attrs.groups, -1, *weight.shape[1:]).astype(np.float64)
    sums = np.einsum("yxhwgc,gohwc->yxgo", windows, kernels)
    return (sums.reshape(1, *sums.shape[:2], -1) + bias).astype(np.float32)


def macs(attrs: FloatConv2DAttributes, data: TensorSpec, weight: Argument, bias: Argument) -> int:
    """Those of all windows, borders included."""
    return infer(attrs, data, weight, bias).elements * int(np.prod(weight.shape[1:]))


def kernel(
    attrs: FloatConv2DAttributes, data: TensorSpec, weight: Argument, bias: Argument
) -> Kernel:
    """Panels of 24 output channels; nothing of the result is final before the end."""
    output = infer(attrs, data, weight, bias)
    if float_depthwise.is_alike(attrs.groups, weight):
        return float_depthwise.kernel(attrs, data, weight, bias, output)
    size = (weight.shape[1], weight.shape[2])
    blocks = -(-weight.shape[3] // LARGEST_BLOCK)
    block = -(-weight.shape[3] // blocks)
    arguments: list[Named] = [("data", data), ("weight", weight), ("bias", bias)]
    return runtime_kernel(
        "float_conv2d",
        "tiny_float_conv2d",
        arguments,
        output,
        (block,),
        constants=[("window", window_table(attrs, data.shape, output.shape, size, attrs.groups))],
        scratch=floats(block * SUMS),
        sources=(*SOURCES, "tvm_tiny_float_layers.h", "tvm_tiny_float_conv.c"),
    )


FLOAT_CONV2D = define(
    Operator("tiny.float_conv2d", FloatConv2DAttributes, infer, meaning, kernel, macs)
)
