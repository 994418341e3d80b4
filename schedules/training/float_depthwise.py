"""Kernels of float depthwise convolutions, as which float models have groups of one channel.

Sixteen or eight channels side by side: sums of a pixel stay in registers over all taps, those of a
tap over all pixels. Where taps lie in the image is known here, so that no loop looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, TensorSpec
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training.gradient_windows import (
    DEPTHWISE_SOURCES,
    LANES,
    RUN_WORDS,
    ConvGradientAttributes,
    Parts,
    WeightGradientAttributes,
    floats,
    update_kernel,
    window_table,
)
from tvm_tiny.schedules.window import WindowAttributes

Source = Callable[[int, int], int]  # where a tap of a place lies, negative where there is none


def is_alike(groups: int, weight: Argument) -> bool:
    """Whether each input channel has a group with one output channel, of a float convolution."""
    return weight.dtype == "float32" and weight.shape[3] == 1 and weight.shape[0] == groups > 1


def kernel(
    attrs: WindowAttributes, data: TensorSpec, weight: Argument, bias: Argument, output: TensorSpec
) -> Kernel:
    """The convolution."""

    def source(axis: int) -> Source:
        stride, dilation, before = attrs.strides[axis], attrs.dilation[axis], attrs.padding[axis]
        extent = data.shape[1 + axis]

        def lies(place: int, tap: int) -> int:
            at = place * stride + tap * dilation - before
            return at if at < extent else -1

        return lies

    steps = [(1, dilation) for dilation in attrs.dilation]
    arguments: list[Named] = [("data", data), ("weight", weight), ("bias", bias)]
    return _sweep("float_conv2d", "tiny_float_depthwise", arguments, output, source, steps)


def input_gradient_kernel(
    attrs: ConvGradientAttributes, gradient: TensorSpec, weight: Argument, output: TensorSpec
) -> Kernel:
    """The gradient of its input, of which taps go one way while the outputs go the other."""

    def source(axis: int) -> Source:
        stride, dilation, before = attrs.strides[axis], attrs.dilation[axis], attrs.padding[axis]
        extent = gradient.shape[1 + axis]

        def lies(place: int, tap: int) -> int:
            at, rest = divmod(place + before - tap * dilation, stride)
            return at if rest == 0 and at < extent else -1

        return lies

    common = [gcd(*pair) for pair in zip(attrs.strides, attrs.dilation, strict=True)]
    steps = [
        (stride // divisor, -dilation // divisor)
        for stride, dilation, divisor in zip(attrs.strides, attrs.dilation, common, strict=True)
    ]
    name = "conv2d_input_gradient"
    arguments: list[Named] = [("gradient", gradient), ("weight", weight)]
    function = "tiny_float_depthwise_input_gradient"
    return _sweep(name, function, arguments, output, source, steps)


def _sweep(
    name: str,
    function: str,
    arguments: list[Named],
    output: TensorSpec,
    source: Callable[[int], Source],
    steps: list[tuple[int, int]],
) -> Kernel:
    """A kernel by its tables; `steps` are from tap to tap and from input to input, by axis."""
    data, weight = arguments[0][1], arguments[1][1]
    size = weight.shape[1:3]
    places = [_places(output.shape[1 + axis], size[axis], source(axis)) for axis in range(2)]
    (tap_down, input_down), (tap_right, input_right) = steps
    moves = (tap_down, tap_right, input_down, input_right)
    sweep = np.array((*output.shape[1:], data.shape[2], *size, *moves), np.int32)
    return runtime_kernel(
        name,
        function,
        arguments,
        output,
        constants=[("sweep", sweep), ("rows", places[0]), ("columns", places[1])],
        scratch=floats(size[0] * size[1] * LANES),
        sources=DEPTHWISE_SOURCES,
    )


def _places(extent: int, taps: int, source: Source) -> Array:
    """`tiny_places` of an axis: the first tap, where it lies, and how many there are."""
    rows = np.zeros((extent, 3), np.int32)
    for place in range(extent):
        inside = [tap for tap in range(taps) if source(place, tap) >= 0]
        if inside:
            rows[place] = inside[0], source(place, inside[0]), len(inside)
    return rows


def weight_gradient_kernel(
    attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec
) -> Kernel:
    """The gradient of weights (output channels, kernel height, kernel width, 1)."""
    _, constants, scratch = _weight_parts(attrs, data, gradient)
    return runtime_kernel(
        "conv2d_weight_gradient",
        "tiny_float_depthwise_weight_gradient",
        [("data", data), ("gradient", gradient)],
        TensorSpec((gradient.shape[3], *attrs.kernel_size, 1), "float32"),
        constants=constants,
        scratch=scratch,
        sources=DEPTHWISE_SOURCES,
    )


def weight_update_kernel(attrs: WeightGradientAttributes, arguments: Sequence[Named]) -> Kernel:
    """The same, applied to the weights."""
    _, (_, data), (_, gradient), *_ = arguments
    assert isinstance(data, TensorSpec) and isinstance(gradient, TensorSpec)
    parts = _weight_parts(attrs, data, gradient)
    function = "float_depthwise_weight_update"
    return update_kernel("conv2d_weight_update", arguments, parts, function, DEPTHWISE_SOURCES)


def _weight_parts(attrs: WeightGradientAttributes, data: TensorSpec, gradient: TensorSpec) -> Parts:
    window = window_table(attrs, data.shape, gradient.shape, attrs.kernel_size)
    taps = int(np.prod(attrs.kernel_size))
    scratch = floats(taps * LANES + attrs.kernel_size[1] * RUN_WORDS)
    return (), [("window", window)], scratch
