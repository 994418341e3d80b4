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

SOURCES = (
    *wide.CONVOLUTION_SOURCES,
    "tvm_tiny_wide_depthwise.c",
    "tvm_tiny_wide_quads.c",
    "tvm_tiny_wide_quads.h",
)
CHANNELS = 4  # at a time
OUTPUTS = 4  # of a row, at a time
PLACE = 4  # words that say where these are
PLANE_WIDTHS, PLANE_STRIDES = (3, 5, 7), (1, 2)
MOST_SCRATCH = 8192


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
    """A call of the runtime, which takes four channels at a time, as planes of 16-bit halves."""
    output = infer(attrs, data, weight)
    height, width, _ = weight.shape
    rows, words = _planes(attrs, output, (height, width))
    return runtime_kernel(
        "wide_depthwise_conv2d",
        "tiny_wide_depthwise_conv2d",
        [("data", data), ("weight", weight), ("bias", bias)],
        output,
        constants=[
            wide.scaling_table(multiplier, shift),
            wide.layer_table(attrs, data, output, (height, width), height * width, rows),
        ],
        scratch=TensorSpec((words,), "int32"),
        sources=SOURCES,
    )


def _planes(
    attrs: QDepthwiseConv2DAttributes, output: TensorSpec, window: tuple[int, int]
) -> tuple[int, int]:
    """Rows of outputs whose input is in the planes at a time, and words of scratch.

    Other widths of windows than those of planes have none.
    """
    stride = attrs.strides[1]
    if window[1] not in PLANE_WIDTHS or stride not in PLANE_STRIDES or attrs.dilation[1] > 1:
        return 0, 1
    pairs = window[1] // 2
    weights = window[0] * (pairs + (pairs if stride == 1 else 1))
    starts = (output.shape[2] - 1) // OUTPUTS * OUTPUTS * stride // 2
    row = starts + pairs + (2 if stride == 1 else 4)
    reach = (window[0] - 1) * attrs.dilation[0] + 1

    def words(rows: int) -> int:
        planes = ((rows - 1) * attrs.strides[0] + reach) * row
        places = rows * -(-output.shape[2] // OUTPUTS) * PLACE
        return CHANNELS * (weights + planes) + places

    fitting = [n for n in range(1, output.shape[1] + 1) if words(n) * 4 <= MOST_SCRATCH]
    rows = max(fitting, default=1)
    return rows, words(rows)


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
