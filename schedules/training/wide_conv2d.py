"""tiny.wide_conv2d: int8 convolution to int16, with weights and biases that may change at run time.

The arithmetic is that of tiny.qconv2d up to the clamp. Weights are read as they lie, OHWI.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import qconv2d
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Kernel,
    Operator,
    Reaches,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.qconv2d import QConv2DAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide
from tvm_tiny.schedules.window import reach_of


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
    """A call of the runtime."""
    output = infer(attrs, data, weight)
    wide.check_taps(int(np.prod(weight.shape[1:])))
    layer = [
        *data.shape,
        *output.shape[1:],
        *weight.shape[1:3],
        attrs.groups,
        *attrs.strides,
        *attrs.padding[:2],
        *attrs.dilation,
        attrs.input_zero_point,
        attrs.output_zero_point,
        attrs.fraction_bits,
    ]
    return runtime_kernel(
        "wide_conv2d",
        "tiny_wide_conv2d",
        [("data", data), ("weight", weight), ("bias", bias)],
        output,
        constants=[
            ("scaling", wide.scaling_table(multiplier, shift)),
            ("layer", np.array(layer, np.int32)),
        ],
        sources=wide.SOURCES,
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
