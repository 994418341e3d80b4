"""tiny.wide_depthwise_conv2d: int8 depthwise convolution to int16, with weights that may change.

The arithmetic is that of tiny.qdepthwise_conv2d up to the clamp; weights (height, width, channels).
"""

from __future__ import annotations

from tvm_tiny.schedules import qdepthwise_conv2d
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Kernel,
    Operator,
    Reaches,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide
from tvm_tiny.schedules.window import reach_of

SOURCES = (*wide.CONVOLUTION_SOURCES, "tvm_tiny_wide_depthwise.c")


def infer(
    attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Argument
) -> TensorSpec:
    """(batch, out height, out width, channels x multiplier) int16."""
    return wide.as_wide(qdepthwise_conv2d.infer(attrs, data, weight))


def meaning(
    attrs: QDepthwiseConv2DAttributes,
    data: Array,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Array:
    """sum((x - input_zero_point) * w) + bias per channel, requantised, not clamped."""
    sums = qdepthwise_conv2d.sums(attrs, data, weight)
    return wide.apply(sums, bias, multiplier, shift, attrs)


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Argument,
    bias: Argument,
    multiplier: Array,
    shift: Array,
) -> Kernel:
    """A call of the runtime."""
    output = infer(attrs, data, weight)
    taps = weight.shape[0] * weight.shape[1]
    return runtime_kernel(
        "wide_depthwise_conv2d",
        "tiny_wide_depthwise_conv2d",
        [("data", data), ("weight", weight), ("bias", bias)],
        output,
        constants=[
            wide.scaling_table(multiplier, shift),
            wide.layer_table(attrs, data, output, weight.shape[:2], taps, 1),
        ],
        sources=SOURCES,
    )


def reaches(
    attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Argument
) -> Reaches:
    """Windows of the image; weights and biases in RAM are read whole."""
    window = reach_of(attrs, (weight.shape[0], weight.shape[1]), attrs.input_zero_point)
    return (window, *(None for a in (weight, *rest) if isinstance(a, TensorSpec)))


WIDE_DEPTHWISE_CONV2D = define(
    Operator(
        "tiny.wide_depthwise_conv2d",
        QDepthwiseConv2DAttributes,
        infer,
        meaning,
        kernel,
        qdepthwise_conv2d.macs,
        reaches=reaches,
    )
)
