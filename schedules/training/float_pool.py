"""tiny.float_max_pool2d, tiny.float_avg_pool2d: poolings of floats; taps outside do not count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.avg_pool2d_gradient import pool_table
from tvm_tiny.schedules.training.float_steps import FLOAT_SOURCES
from tvm_tiny.schedules.window import WindowAttributes, patches


@dataclass(frozen=True)
class FloatPool2DAttributes(WindowAttributes):
    """The window and its size (height, width)."""

    size: tuple[int, int]


def infer(attrs: FloatPool2DAttributes, data: TensorSpec) -> TensorSpec:
    """(batch, out height, out width, channels) float32."""
    batch, height, width, channels = data.shape
    return TensorSpec((batch, *attrs.output_size((height, width), attrs.size), channels), "float32")


def max_meaning(attrs: FloatPool2DAttributes, data: Array) -> Array:
    """The largest tap inside of the image."""
    taps = np.where(_inside(attrs, data), patches(data, attrs.size, attrs, 0), -np.inf)
    return taps.max(axis=(3, 4)).astype(np.float32)


def avg_meaning(attrs: FloatPool2DAttributes, data: Array) -> Array:
    """The mean of the taps inside of the image."""
    total = patches(data.astype(np.float64), attrs.size, attrs, 0).sum(axis=(3, 4))
    return (total / _inside(attrs, data).sum(axis=(3, 4))).astype(np.float32)


def max_kernel(attrs: FloatPool2DAttributes, data: TensorSpec) -> Kernel:
    """Window by window."""
    return _kernel("float_max_pool2d", "tiny_float_max_pool", attrs, data)


def avg_kernel(attrs: FloatPool2DAttributes, data: TensorSpec) -> Kernel:
    """Window by window."""
    return _kernel("float_avg_pool2d", "tiny_float_average_pool", attrs, data)


def _kernel(name: str, function: str, attrs: FloatPool2DAttributes, data: TensorSpec) -> Kernel:
    output = infer(attrs, data)
    table = pool_table(attrs, attrs.size, data.shape, output.shape)
    return runtime_kernel(
        name,
        function,
        [("data", data)],
        output,
        constants=[("window", table)],
        sources=FLOAT_SOURCES,
    )


def _inside(attrs: FloatPool2DAttributes, data: Array) -> Array:
    return patches(np.ones((1, *data.shape[1:3], 1), bool), attrs.size, attrs, 0)


FLOAT_MAX_POOL2D = define(
    Operator("tiny.float_max_pool2d", FloatPool2DAttributes, infer, max_meaning, max_kernel)
)
FLOAT_AVG_POOL2D = define(
    Operator("tiny.float_avg_pool2d", FloatPool2DAttributes, infer, avg_meaning, avg_kernel)
)
