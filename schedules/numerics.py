"""Fixed-point arithmetic of TensorFlow Lite's integer reference, in numpy.

Source: TensorFlow Lite 8-bit quantization specification; gemmlowp's fixedpoint.h. Names follow it.
All functions take and give int64 arrays that hold int32 values, so that nothing wraps unseen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tvm_tiny.errors import UnsupportedError

Array = np.ndarray[Any, Any]
INT8_MIN, INT8_MAX = -128, 127
INT32_LIMIT = 1 << 31


def quantize_multiplier(real: npt.ArrayLike) -> tuple[Array, Array]:
    """Split real multipliers into (int32 in [2^30, 2^31), shift): real = m * 2^(shift - 31).

    A positive shift is to the left. Multipliers below 2^-32 become zero, as in the reference.
    """
    fraction, shift = np.frexp(np.asarray(real, dtype=np.float64))
    # Half away from zero; multipliers are never negative.
    multiplier = np.floor(fraction * INT32_LIMIT + 0.5).astype(np.int64)
    carry = multiplier == INT32_LIMIT
    multiplier = np.where(carry, multiplier // 2, multiplier)
    shift = shift.astype(np.int64) + carry
    vanishes = shift < -31
    if np.any(shift > 30):
        raise UnsupportedError("a quantisation multiplier of 2^30 or more", found=np.max(real))
    return (
        np.where(vanishes, 0, multiplier).astype(np.int32),
        np.where(vanishes, 0, shift).astype(np.int32),
    )


def high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """SaturatingRoundingDoublingHighMul: (2 a b + 2^31) >> 32, the one overflow aside."""
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    # The reference nudges by the sign and truncates; for every product that equals adding half
    # and flooring (proved by cases on the sign; tested).
    return (product + (1 << 30)) >> 31


def rounding_divide_by_power_of_two(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Array:
    """x / 2^exponent, halves away from zero."""
    x, exponent = np.asarray(x, dtype=np.int64), np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def requantize(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> Array:
    """MultiplyByQuantizedMultiplier with double rounding: acc * m * 2^(shift - 31)."""
    shift = np.asarray(shift, dtype=np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = np.asarray(acc, dtype=np.int64) << left
    return rounding_divide_by_power_of_two(high_mul(shifted, multiplier), right)


def clamp_int8(values: Array, low: int = INT8_MIN, high: int = INT8_MAX) -> Array:
    """Clamp to [low, high] and narrow to int8."""
    return np.clip(values, low, high).astype(np.int8)


def round_half_away(values: npt.ArrayLike) -> Array:
    """Round half away from zero (C's `round`)."""
    values = np.asarray(values)
    magnitude = np.floor(np.abs(values))
    with np.errstate(invalid="ignore"):  # infinity less itself
        magnitude = magnitude + (np.abs(values) - magnitude >= 0.5)
    return np.copysign(magnitude, values)
