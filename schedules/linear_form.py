"""Sums of two int8 values as one line of integer arithmetic, proved for every pair.

The reference rescales both operands, adds and rescales again. That is a plane with rounding, so
there mostly are integers with y = (x1 * first + x2 * second + offset) >> shift, to the nearest
int8. They are searched for, and taken only if all 65,536 pairs give the reference's result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array

SHIFTS = (22, 21, 20, 19, 18)  # that runtime/tvm_tiny_elementwise.c has functions for
FACTOR_LIMIT = 1 << 23
VALUES = np.arange(-128, 128, dtype=np.int64)
NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
STRETCHES = tuple(2.0**-bits for bits in range(21, 14, -1))
UNBOUNDED = 1 << 40
REACH = (1 << 31) - (1 << 22)


@dataclass(frozen=True)
class LinearForm:
    """y = (x1 * first + x2 * second + offset) >> shift, to the nearest int8."""

    first: int
    second: int
    offset: int
    shift: int

    @property
    def array(self) -> Array:
        """What the C functions read."""
        return np.array([self.first, self.second, self.offset], np.int32)

    def emit(self, x1: tirx.Expr, x2: tirx.Expr) -> tirx.Expr:
        """TIR: the int32 result, not saturated yet."""
        x1, x2 = T.Cast("int32", x1), T.Cast("int32", x2)
        total = x1 * self.first + self.offset + x2 * self.second
        return T.shift_right(total, T.int32(self.shift))


def linear_form(results: Array, slopes: tuple[float, float]) -> LinearForm | None:
    """The form of `results`, the saturated int8 result of every pair (x1 by row, x2 by column).

    `slopes` are the real factors of both operands.
    """
    for shift in SHIFTS:
        for first, second in _factors(slopes, shift):
            if max(abs(first), abs(second)) < FACTOR_LIMIT:
                form = _with_offset(results, first, second, shift)
                if form is not None:
                    return form
    return None


def _factors(slopes: tuple[float, float], shift: int) -> Iterator[tuple[int, int]]:
    first, second = (slope * 2**shift for slope in slopes)
    for step_first, step_second in NEIGHBOURS:
        yield round(first) + step_first, round(second) + step_second
    # The reference rounds halves away from zero. A slope that is a little too steep does so too.
    for stretch in STRETCHES:
        yield round(first * (1 + stretch)), round(second * (1 + stretch))


def _with_offset(results: Array, first: int, second: int, shift: int) -> LinearForm | None:
    """The offset that puts every sum between its result and the next one, if there is any."""
    rows = VALUES[:, np.newaxis] * first
    sums = rows + VALUES * second
    offset = offset_between(results.astype(np.int64), sums, shift)
    if offset is None:
        return None
    # The C code adds the offset before the second product, and vectors a half less.
    reach = max(np.abs(partial + offset).max() for partial in (rows, sums))
    return LinearForm(first, second, offset, shift) if reach < REACH else None


def offset_between(wanted: Array, sums: Array, shift: int) -> int | None:
    """An offset with (sums + offset) >> shift = `wanted` after saturation, if there is any."""
    above_low, below_high = wanted > numerics.INT8_MIN, wanted < numerics.INT8_MAX
    least = int(np.where(above_low, (wanted << shift) - sums, -UNBOUNDED).max())
    most = int(np.where(below_high, ((wanted + 1) << shift) - 1 - sums, UNBOUNDED).min())
    if least > most:
        return None
    # Where no result is -128, or none 127, one side is unbounded.
    return least if most == UNBOUNDED else most if least == -UNBOUNDED else (least + most) // 2
