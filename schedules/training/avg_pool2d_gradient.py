"""tiny.avg_pool2d_gradient: a window's gradient, shared by its taps inside of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import POOL_SOURCES
from tvm_tiny.schedules.window import WindowAttributes


@dataclass(frozen=True)
class PoolGradientAttributes(QPool2DAttributes):
    """Those of the pooling, and the (height, width) of its input."""

    input_size: tuple[int, int]


def infer(attrs: PoolGradientAttributes, gradient: Argument, *others: Argument) -> TensorSpec:
    """The pooling's input's shape, float32."""
    batch, _, _, channels = gradient.shape
    return TensorSpec((batch, *attrs.input_size, channels), "float32")


def windows(attrs: PoolGradientAttributes, size: tuple[int, int]) -> Iterator[tuple[Array, Array]]:
    """For each output pixel of a pooling in raster order, rows and columns of its taps inside."""
    (height, width), (rows, columns) = attrs.input_size, attrs.size
    for y in range(size[0]):
        for x in range(size[1]):
            row = y * attrs.strides[0] - attrs.padding[0] + np.arange(rows) * attrs.dilation[0]
            col = x * attrs.strides[1] - attrs.padding[1] + np.arange(columns) * attrs.dilation[1]
            taps = np.stack(np.meshgrid(row, col, indexing="ij")).reshape(2, -1)
            is_inside = (taps >= 0).all(0) & (taps[0] < height) & (taps[1] < width)
            yield taps[0][is_inside], taps[1][is_inside]


def meaning(attrs: PoolGradientAttributes, gradient: Array) -> Array:
    """gradient / taps inside, added up over all windows."""
    total = np.zeros(infer(attrs, gradient).shape, np.float64)
    _, height, width, channels = gradient.shape
    pixels = gradient.reshape(-1, channels).astype(np.float64)
    for pixel, (rows, columns) in zip(pixels, windows(attrs, (height, width)), strict=True):
        total[0, rows, columns] += pixel / max(len(rows), 1)
    return total.astype(np.float32)


def kernel(attrs: PoolGradientAttributes, gradient: TensorSpec) -> Kernel:
    """Window by window."""
    return runtime_kernel(
        "avg_pool2d_gradient",
        "tiny_average_pool_gradient",
        [("gradient", gradient)],
        infer(attrs, gradient),
        constants=[("window", table(attrs, gradient))],
        sources=POOL_SOURCES,
        overlaps=[None],
    )


def table(attrs: PoolGradientAttributes, gradient: TensorSpec) -> Array:
    """What the C functions read; see tvm_tiny_pool_gradient.h."""
    return pool_table(attrs, attrs.size, infer(attrs, gradient).shape, gradient.shape)


def pool_table(
    attrs: WindowAttributes, size: tuple[int, int], data: Sequence[int], output: Sequence[int]
) -> Array:
    """The same of a pooling's window, and the shapes of its input and output."""
    values = [*data[1:], *size, *attrs.strides, *attrs.padding[:2], *attrs.dilation]
    return np.array([*values, *output[1:3]], np.int32)


AVG_POOL2D_GRADIENT = define(
    Operator("tiny.avg_pool2d_gradient", PoolGradientAttributes, infer, meaning, kernel)
)
