"""What the gradients of convolutions share: their attributes, windows and scratch.

Gradients are float32, images have one batch. Sums over pixels or channels start at +0 and take
fused multiply-adds in a fixed order. Terms whose gradient is zero are left out, which cannot be
seen: the other factor is finite, and a sum that starts at +0 never becomes -0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training.float_steps import step
from tvm_tiny.schedules.window import WindowAttributes, patches

SOURCES = (
    "tvm_tiny_depthwise_gradient.c",
    "tvm_tiny_float.h",
    "tvm_tiny_gradient.c",
    "tvm_tiny_gradient.h",
    "tvm_tiny_gradient_sums.c",
    "tvm_tiny_gradient_sums.h",
    "tvm_tiny_weight_columns.h",
)
FLOAT_SOURCES = (*SOURCES, "tvm_tiny_float_gradient.c")
DEPTHWISE_SOURCES = (*SOURCES, "tvm_tiny_float_depthwise.h", "tvm_tiny_float_depthwise.c")
LARGEST_WEIGHT = 127  # of trained weights; no -128
SUMS = 24  # of a tile of convolutions, as in tvm_tiny_gradient_sums.h
LANES = 16  # channels of a tile of depthwise convolutions
RUN_WORDS = 3  # of a tiny_run


@dataclass(frozen=True)
class ConvGradientAttributes(WindowAttributes):
    """The convolution's window, the (height, width) of its input, and its groups."""

    input_size: tuple[int, int]
    groups: int = 1


@dataclass(frozen=True)
class DepthwiseGradientAttributes(WindowAttributes):
    """The window, the (height, width) of the input, and the outputs of each input channel."""

    input_size: tuple[int, int]
    channel_multiplier: int = 1


@dataclass(frozen=True)
class WeightGradientAttributes(WindowAttributes):
    """The window, its (height, width), the input's zero point, groups and chosen channels.

    `channels` are indices on the weight's last axis, in the order in which the gradient has them;
    empty stands for all.
    """

    kernel_size: tuple[int, int]
    input_zero_point: int
    groups: int = 1
    channels: tuple[int, ...] = ()

    def chosen(self, depth: int) -> tuple[int, ...]:
        """The channels of a gradient, of weights of `depth` input channels."""
        return self.channels or tuple(range(depth))


@dataclass(frozen=True)
class DepthwiseWeightGradientAttributes(WindowAttributes):
    """The window, its (height, width) and the input's zero point."""

    kernel_size: tuple[int, int]
    input_zero_point: int


def shape_of(argument: Argument, where: str) -> tuple[int, ...]:
    """The shape of an image; raises UnsupportedError where it has more than one batch."""
    if argument.shape[0] != 1:
        raise UnsupportedError(
            "a gradient of more than one image", where=where, limit=1, found=argument.shape[0]
        )
    return tuple(argument.shape)


def window_table(
    attrs: WindowAttributes,
    data: tuple[int, ...],
    gradient: tuple[int, ...],
    kernel: tuple[int, int],
    groups: int | None = None,
) -> Array:
    """A `tiny_window` of the C runtime; depthwise where `groups` is None.

    A pointwise convolution that is not depthwise is one row of pixels.
    """
    _, height, width, channels = data
    _, rows, columns, outputs = gradient
    if groups and kernel == attrs.strides == (1, 1) and not attrs.is_padded:
        height, width, rows, columns = 1, height * width, 1, rows * columns
    image = (height, width, channels, rows, columns, outputs, groups or channels)
    steps = (*kernel, *attrs.strides, *attrs.dilation, *attrs.padding[:2])
    return np.array((*image, *steps), np.int32)


def taps_of(
    data: Array, attrs: WindowAttributes, kernel: tuple[int, int], zero_point: int
) -> Array:
    """Windows of an int8 image, less its zero point: (rows, columns, kh, kw, channels)."""
    return patches(data, kernel, attrs, zero_point)[0].astype(np.float64) - zero_point


def add_up(windows: Array, attrs: WindowAttributes, size: tuple[int, int]) -> Array:
    """The adjoint of `patches`: an image of `size` from (rows, columns, kh, kw, channels)."""
    rows, columns, height, width, channels = windows.shape
    top, left, bottom, right = attrs.padding
    padded = np.zeros((size[0] + top + bottom, size[1] + left + right, channels))
    for y in range(height):
        for x in range(width):
            first = y * attrs.dilation[0], x * attrs.dilation[1]
            down = slice(first[0], first[0] + rows * attrs.strides[0], attrs.strides[0])
            right_on = slice(first[1], first[1] + columns * attrs.strides[1], attrs.strides[1])
            padded[down, right_on][:rows, :columns] += windows[:, :, y, x]
    return padded[None, top : top + size[0], left : left + size[1]]


def descend(parameter: Array, gradient: Array, rate: Array, scale: Array) -> Array:
    """A step of tiny.sgd_update; `scale` is shaped to multiply the gradient."""
    with np.errstate(all="ignore"):
        factor = rate.reshape(()).astype(np.float32) * scale.astype(np.float32)
    return step(parameter, factor, gradient, LARGEST_WEIGHT)


def floats(count: int) -> TensorSpec:
    """Scratch of so many floats."""
    return TensorSpec((count,), "float32")


Parts = tuple[Sequence[int], Sequence[tuple[str, Array]], TensorSpec | None]


def update_kernel(
    name: str,
    arguments: Sequence[Named],
    parts: Parts,
    function: str = "",
    sources: Sequence[str] = SOURCES,
) -> Kernel:
    """The kernel of a gradient that is applied as it comes; the weight is the first argument.

    Each weight is written once its sum is complete; all others keep their bytes. The C function has
    the kernel's name, if it is not told.
    """
    numbers, constants, scratch = parts
    weight = arguments[0][1]
    assert isinstance(weight, TensorSpec)
    run_time = sum(isinstance(argument, TensorSpec) for _, argument in arguments)
    return runtime_kernel(
        name,
        f"tiny_{function or name}",
        arguments,
        weight,
        numbers,
        constants=constants,
        scratch=scratch,
        sources=sources,
        overlaps=(Overlap(0, is_exact=True), *[None] * (run_time - 1)),
    )
