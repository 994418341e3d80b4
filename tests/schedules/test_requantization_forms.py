"""What fast kernels compute instead of TensorFlow Lite's two roundings, and where it is the same.

With the real number v = accumulator * multiplier / 2^31 and a shift e to the right, the reference
is round(round(v) / 2^e), halves up first, away from zero then. The forms below take it as one or
two instructions. Each is compared with the reference on all accumulators around each place where
an int8 output changes, at the ends of its domain, and on an unbroken range; where a condition is
named, a test shows that the form is wrong without it.

Why they hold: floor((floor(x) + n) / m) = floor((x + n) / m) for integers n and m > 0, so that
roundings that are floors of sums nest in one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.support.quick import quick_some
from tvm_tiny.schedules import numerics

Array = np.ndarray[Any, Any]

LOWEST, HIGHEST = -128, 127
MULTIPLIER_ENDS = (1 << 30, (1 << 30) + 1, (1 << 30) + 2, (1 << 31) - 2, (1 << 31) - 1)
MULTIPLIERS = (
    *MULTIPLIER_ENDS,
    *(int(m) for m in np.random.default_rng(0).integers(1 << 30, 1 << 31, 25)),
)
LARGEST_SHIFT = 23  # zero_point << 23, half of 2^23 and a product below 2^30 fit a word
SHIFTS = range(1, LARGEST_SHIFT + 1)
LIMIT = 1 << 30  # accumulators below it can be doubled
NEAR = np.arange(-3, 4)
RANGE = np.arange(-(1 << 17), (1 << 17) + 1)
SOME_SHIFTS = (1, 2, 3, 7, 10)
ZERO_POINTS = (-128, -1, 0, 5, 127)


def word(values: Array) -> Array:
    """The low 32 bits as a signed number, which is what a register holds."""
    return (values + (1 << 31)) % (1 << 32) - (1 << 31)


def smmla(a: Array, b: int, c: Array | int) -> Array:
    """The instruction: high word of a product, plus a word."""
    return word(((word(a) * b) >> 32) + c)


def smmlar(a: Array, b: int, c: Array | int) -> Array:
    """The same with the product rounded, halves up."""
    return word(((word(a) * b + (1 << 31)) >> 32) + c)


def offset(shift: int, zero_point: int = 0, scale: int = 0) -> int:
    """The half that rounds and the zero point, in units of the product times 2^scale."""
    half = 1 << (shift - 1) if shift else 0
    return (half + (zero_point << shift)) << scale


# --- the forms --------------------------------------------------------------------------------


def signed(acc: Array, multiplier: int, shift: int, zero_point: int = 0) -> Array:
    """Doubled accumulators, their sign as the fix of halves: ADD, SMMLAR, shift."""
    return smmlar(2 * acc, multiplier, offset(shift, zero_point) + (acc >> 31)) >> shift


def half_up(acc: Array, multiplier: int, shift: int, zero_point: int = 0) -> Array:
    """The same without the fix: SMMLAR, shift."""
    return smmlar(2 * acc, multiplier, offset(shift, zero_point)) >> shift


def scaled(acc: Array, multiplier: int, shift: int, scale: int, zero_point: int = 0) -> Array:
    """Accumulators scaled by 2^(scale + 1), so that the first half is an integer: SMMLA, shift."""
    constant = offset(shift, zero_point, scale) + (1 << (scale - 1))
    return smmla(acc << (scale + 1), multiplier, constant) >> (shift + scale)


def scaled_signed(acc: Array, multiplier: int, shift: int, scale: int) -> Array:
    """The same with the fix of halves, which is scaled too."""
    constant = offset(shift, 0, scale) + (1 << (scale - 1)) + ((acc >> 31) << scale)
    return smmla(acc << (scale + 1), multiplier, constant) >> (shift + scale)


# --- what they are compared with --------------------------------------------------------------


def reference(acc: Array, multiplier: int, shift: int) -> Array:
    """TensorFlow Lite's MultiplyByQuantizedMultiplier."""
    return numerics.requantize(acc, multiplier, -shift)


def reference_half_up(acc: Array, multiplier: int, shift: int) -> Array:
    """Two roundings, halves up in both: the meaning of layers with fraction bits."""
    return (numerics.high_mul(acc, multiplier) + (1 << shift >> 1)) >> shift


@cache
def thresholds(multiplier: int, shift: int, limit: int = LIMIT) -> Array:
    """All accumulators within 3 of where an output changes, of zero and of the domain's ends."""
    halves = 2 * np.arange(2 * LOWEST, 2 * HIGHEST + 3) + 1  # zero points move them by up to 128
    exact = (halves.astype(object) << (shift + 30)) // multiplier
    places = np.array([0, -limit, limit - 1, *(n for n in exact if abs(n) < limit)], np.int64)
    around = (places[:, None] + NEAR).reshape(-1)
    return np.unique(around[(-limit <= around) & (around < limit)])


def cases(shifts: Any = SHIFTS) -> Iterator[tuple[int, int]]:
    """Return multipliers and shifts."""
    return ((multiplier, shift) for multiplier in MULTIPLIERS for shift in shifts)


# --- (1) two roundings ------------------------------------------------------------------------


def test_the_sign_of_the_accumulator_fixes_the_second_rounding() -> None:
    for multiplier, shift in cases():
        acc = thresholds(multiplier, shift)
        expected = reference(acc, multiplier, shift)
        for zero_point in ZERO_POINTS:
            actual = signed(acc, multiplier, shift, zero_point)
            np.testing.assert_array_equal(actual, expected + zero_point)


@quick_some("shift", SOME_SHIFTS, 3)
def test_on_every_accumulator_of_a_range(shift: int) -> None:
    for multiplier in MULTIPLIERS:
        expected = reference(RANGE, multiplier, shift)
        np.testing.assert_array_equal(signed(RANGE, multiplier, shift), expected)


def test_a_product_that_rounds_to_zero_needs_no_sign() -> None:
    """Why either sign serves: where they differ the product is zero, with or without the fix."""
    acc = np.arange(-100, 0)
    for multiplier in (0, 1, 1 << 20, 1 << 29, 1 << 30):  # those below 2^30 are not normalised
        zero = acc[numerics.high_mul(acc, multiplier) == 0]
        assert len(zero)
        for shift in SHIFTS:
            assert not signed(zero, multiplier, shift).any()


def test_without_a_shift_the_fix_is_wrong_and_not_needed() -> None:
    for multiplier in MULTIPLIERS:
        acc = thresholds(multiplier, 0)
        expected = reference(acc, multiplier, 0)
        np.testing.assert_array_equal(half_up(acc, multiplier, 0), expected)
        assert (signed(acc, multiplier, 0)[acc < 0] != expected[acc < 0]).all()


def test_accumulators_of_31_bits_can_not_be_doubled() -> None:
    for acc in (1 << 30, -(1 << 30) - 1, (1 << 31) - 1, -(1 << 31)):
        one = np.array([acc])
        assert signed(one, (1 << 31) - 1, 4) != reference(one, (1 << 31) - 1, 4)
    last = np.array([-(1 << 30), (1 << 30) - 1])
    expected = reference(last, (1 << 31) - 1, 4)
    np.testing.assert_array_equal(signed(last, (1 << 31) - 1, 4), expected)


def test_a_larger_shift_leaves_no_room_for_the_zero_point() -> None:
    acc, multiplier = np.array([(1 << 30) - 1]), (1 << 31) - 1
    expected = reference(acc, multiplier, LARGEST_SHIFT + 1) + 127
    assert signed(acc, multiplier, LARGEST_SHIFT + 1, 127) != expected


def test_the_fix_is_needed() -> None:
    acc, multiplier, shift = np.array([-3 << 4]), 1 << 30, 4  # v = -24: 1.5 of 16 below zero
    assert reference(acc, multiplier, shift) == -2
    assert signed(acc, multiplier, shift) == -2
    assert half_up(acc, multiplier, shift) == -1


# --- (2) a fused ReLU -------------------------------------------------------------------------


def clamped(values: Array, low: int) -> Array:
    """An output's clamp from below."""
    return np.clip(values, low, HIGHEST)


def test_a_relu_hides_the_fix() -> None:
    """Below zero both round to zero or less, which the clamp makes the zero point."""
    for multiplier, shift in cases((0, *SHIFTS)):
        acc = thresholds(multiplier, shift)
        expected = reference(acc, multiplier, shift)
        for zero_point in ZERO_POINTS:
            for low in {zero_point, min(zero_point + 9, HIGHEST)}:
                actual = clamped(half_up(acc, multiplier, shift, zero_point), low)
                np.testing.assert_array_equal(actual, clamped(expected + zero_point, low))


@quick_some("shift", SOME_SHIFTS, 3)
def test_a_relu_hides_the_fix_on_every_accumulator_of_a_range(shift: int) -> None:
    for multiplier in MULTIPLIERS:
        expected = clamped(reference(RANGE, multiplier, shift) - 128, -128)
        actual = clamped(half_up(RANGE, multiplier, shift, -128), -128)
        np.testing.assert_array_equal(actual, expected)


def test_a_clamp_below_the_zero_point_does_not_hide_it() -> None:
    acc, multiplier, shift = np.array([-3 << 4]), 1 << 30, 4
    expected = clamped(reference(acc, multiplier, shift) + 0, -2)
    assert clamped(half_up(acc, multiplier, shift), -2) != expected


# --- (3) scaled accumulators ------------------------------------------------------------------


def scalings(shift: int) -> list[int]:
    """Return scales that leave room for the zero point and for accumulators of some bits."""
    return [scale for scale in (1, 2, 3, 7, 12) if shift + scale <= LARGEST_SHIFT]


@pytest.mark.slow
def test_both_halves_and_the_zero_point_are_one_constant() -> None:
    for multiplier, shift in cases():
        for scale in scalings(shift):
            acc = thresholds(multiplier, shift, LIMIT >> scale)
            expected = reference_half_up(acc, multiplier, shift)
            for zero_point in ZERO_POINTS:
                actual = scaled(acc, multiplier, shift, scale, zero_point)
                np.testing.assert_array_equal(actual, expected + zero_point)


@quick_some("shift", SOME_SHIFTS, 3)
@pytest.mark.parametrize("scale", [1, 4, 12])
def test_scaled_on_every_accumulator_of_a_range(shift: int, scale: int) -> None:
    for multiplier in MULTIPLIERS:
        expected = reference_half_up(RANGE, multiplier, shift)
        np.testing.assert_array_equal(scaled(RANGE, multiplier, shift, scale), expected)


def test_with_a_relu_it_is_the_reference() -> None:
    for multiplier, shift in cases():
        for scale in scalings(shift):
            acc = thresholds(multiplier, shift, LIMIT >> scale)
            expected = clamped(reference(acc, multiplier, shift) + 5, 5)
            actual = clamped(scaled(acc, multiplier, shift, scale, 5), 5)
            np.testing.assert_array_equal(actual, expected)


def test_with_a_scaled_fix_it_is_the_reference_too() -> None:
    for multiplier, shift in cases():
        for scale in scalings(shift):
            acc = thresholds(multiplier, shift, LIMIT >> scale)
            expected = reference(acc, multiplier, shift)
            np.testing.assert_array_equal(scaled_signed(acc, multiplier, shift, scale), expected)


def test_without_a_shift_only_one_half_is_left() -> None:
    """The constant's second half is none where nothing is shifted; to count one is wrong."""
    scale = 3
    for multiplier in MULTIPLIERS:
        acc = thresholds(multiplier, 0, LIMIT >> scale)
        expected = reference(acc, multiplier, 0)
        np.testing.assert_array_equal(scaled(acc, multiplier, 0, scale), expected)
        two_halves = smmla(acc << (scale + 1), multiplier, 1 << scale) >> scale
        assert (two_halves != expected).any()


def test_accumulators_that_are_not_scaled_have_no_integer_half() -> None:
    acc, multiplier, shift = np.array([9]), (1 << 31) - 1, 1  # v is just below 9
    expected = reference_half_up(acc, multiplier, shift)
    assert smmla(2 * acc, multiplier, offset(shift)) >> shift != expected
    assert scaled(acc, multiplier, shift, 1) == expected


def test_a_scaled_accumulator_needs_its_bits() -> None:
    acc, multiplier, shift, scale = np.array([LIMIT >> 2]), (1 << 31) - 1, 4, 2
    expected = reference_half_up(acc, multiplier, shift)
    assert scaled(acc, multiplier, shift, scale) != expected
    assert scaled(acc - 1, multiplier, shift, scale) == reference_half_up(
        acc - 1, multiplier, shift
    )
