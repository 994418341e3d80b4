"""tiny.max_pool2d_gradient: a window's gradient goes to its largest tap, the first of equals."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.avg_pool2d_gradient import (
    PoolGradientAttributes,
    infer,
    table,
    windows,
)
from tvm_tiny.schedules.training.float_steps import POOL_SOURCES


def meaning(attrs: PoolGradientAttributes, gradient: Array, data: Array, output: Array) -> Array:
    """To the first tap, in raster order, that is the pooling's output; clamped ones have none."""
    total = np.zeros(infer(attrs, gradient).shape, np.float32)
    _, height, width, channels = gradient.shape
    each = (gradient.reshape(-1, channels), output.reshape(-1, channels))
    for (rows, columns), pixel, found in zip(windows(attrs, (height, width)), *each, strict=True):
        is_found = data[0, rows, columns] == found
        for channel in np.flatnonzero(is_found.any(axis=0)):
            first = is_found[:, channel].argmax()
            total[0, rows[first], columns[first], channel] += pixel[channel]
    return total


def kernel(
    attrs: PoolGradientAttributes, gradient: TensorSpec, data: TensorSpec, output: TensorSpec
) -> Kernel:
    """Window by window."""
    kind = "float_" if data.dtype == "float32" else ""
    return runtime_kernel(
        "max_pool2d_gradient",
        f"tiny_{kind}max_pool_gradient",
        [("gradient", gradient), ("data", data), ("found", output)],
        infer(attrs, gradient),
        constants=[("window", table(attrs, gradient))],
        sources=POOL_SOURCES,
        overlaps=[None, None, None],
    )


MAX_POOL2D_GRADIENT = define(
    Operator("tiny.max_pool2d_gradient", PoolGradientAttributes, infer, meaning, kernel)
)
