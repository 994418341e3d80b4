"""float32 arithmetic of tvm_tiny/runtime/tvm_tiny_float.h in numpy, to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tvm_tiny.schedules.dialect import Array, Overlap

LOSS_SOURCES = ("tvm_tiny_float.h", "tvm_tiny_loss.h", "tvm_tiny_loss.c")
RUNS = ("tvm_tiny_float.h", "tvm_tiny_float_runs.h")
BACKWARD_SOURCES = (*RUNS, "tvm_tiny_backward.h", "tvm_tiny_backward.c")
POOL_SOURCES = ("tvm_tiny_float.h", "tvm_tiny_pool_gradient.h", "tvm_tiny_pool_gradient.c")
UPDATE_SOURCES = (*RUNS, "tvm_tiny_update.h", "tvm_tiny_update.c")
FLOAT_SOURCES = (
    *LOSS_SOURCES,
    "tvm_tiny_pool_gradient.h",
    "tvm_tiny_float_layers.h",
    "tvm_tiny_float_layers.c",
)
IN_PLACE = Overlap(0, is_exact=True)


def fused(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Array:
    """a * b + c rounded once: fmaf."""
    with np.errstate(all="ignore"):
        product = np.asarray(a, np.float32).astype(np.float64) * np.asarray(b, np.float32)
        addend = np.asarray(c, np.float32).astype(np.float64)
        total = product + addend
        # what the sum in float64 has lost decides where float32 would take it for a tie
        virtual = total - product
        lost = (product - (total - virtual)) + (addend - virtual)
        is_even = total.view(np.uint64) & np.uint64(1) == 0
        towards = np.where(lost > 0, np.inf, -np.inf)
        is_inexact = is_even & (lost != 0) & np.isfinite(total) & np.isfinite(lost)
        odd = np.where(is_inexact, np.nextafter(total, towards), total)
        return odd.astype(np.float32)


def along(scale: Array, parameter: Array, axis: int) -> Array:
    """A scale per channel of `axis`, or one of all, shaped to multiply the parameter."""
    if scale.size == 1:
        return scale.reshape(1)
    shape = [1] * parameter.ndim
    shape[axis] = -1
    return scale.reshape(shape)


def step(parameter: Array, factor: Array, gradient: Array, limit: int) -> Array:
    """parameter - factor * gradient as the kernels compute it; see tvm_tiny_float.h."""
    with np.errstate(all="ignore"):
        factor, gradient = factor.astype(np.float32), gradient.astype(np.float32)
        is_step = np.isfinite(factor) & np.isfinite(gradient)
        moved = factor * gradient
        if parameter.dtype == np.int32:
            rounded = np.clip(np.rint(moved.astype(np.float64)), -(2.0**31), 2.0**31 - 1)
            result = parameter - np.where(is_step, rounded, 0).astype(np.int64)
        elif parameter.dtype == np.float32:
            result = parameter - moved
            is_step = np.isfinite(result)
        else:
            result = np.rint(parameter.astype(np.float32) - moved)
        if parameter.dtype != np.float32:
            result = np.clip(result, -limit, limit)
        return np.where(is_step, result, parameter).astype(parameter.dtype)


def pixel_sum(gradient: Array) -> Array:
    """Sum over all but the last axis, pixel after pixel."""
    with np.errstate(all="ignore"):
        rows = gradient.reshape(-1, gradient.shape[-1])
        return np.add.accumulate(rows, axis=0, dtype=np.float32)[-1]
