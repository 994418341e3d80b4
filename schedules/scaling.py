"""From a doubled accumulator to int8 in three to five instructions, exactly.

TensorFlow Lite rounds twice: x = round(acc * M / 2^31), halves up, then round(x / 2^e), halves away
from zero. Two forms give the same numbers on cores with SMMLA, the high half of a product plus a
word:

Floored, where nothing below the zero point can be told apart (a fused ReLU): all roundings are
    halves up, nested floors are one floor, and acc may be scaled by any power of two beforehand.
    With acc' = acc * 2^(k + 1), k = E - e >= 1, the result is floor((SMMLA(acc', M) + C) / 2^E),
    C = 2^(k - 1) + 2^(E - 1) + (zero point << E). E is the same for all channels: their own shifts
    go into the weights. Channels that shift further lose bits of M, where that changes nothing.
Rounded, for all others: SMMLAR rounds to x, and halves of negative numbers go down by one unit of
    x, which is what acc >> 31 adds: floor((SMMLAR(2acc, M) + (acc >> 31) + C) / 2^e) with
    C = 2^(e - 1) + (zero point << e), e >= 1. Sources that round once leave the sign out.

tests/schedules/test_scaling.py compares both with the double rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules import numerics, requantization
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.requantization import RequantizeAttributes

LARGEST_SHIFT = 22  # the zero point, a half and a product below 2^30 fit a word
LANE = 1 << 15  # 16-bit lanes hold [-LANE, LANE)


@dataclass(frozen=True)
class Layer:
    """What a form is chosen from: weights (channels, taps) and requantisation of each channel.

    `bias` has the zero point folded in, `reach` is the largest magnitude of each sum with its bias,
    in the bias's units. Weights of transformed kernels are larger by 2^weight_bits already.
    """

    attrs: RequantizeAttributes
    weight: Array
    bias: Array
    reach: Array
    multiplier: Array
    shift: Array  # to the right
    weight_bits: int = 0

    def lanes(self, scale: Array) -> Array:
        """Weights of which sums are larger by 2^scale, or by 2^weight_bits if that is more."""
        left = np.clip(scale - self.weight_bits, 0, LARGEST_SHIFT)
        return self.weight.astype(np.int64) << left[:, None]

    def fits(self, scale: Array) -> Array:
        """Of each channel, whether such weights are 16-bit lanes."""
        lanes = self.lanes(scale)
        low, high = lanes.min(axis=1, initial=0), lanes.max(axis=1, initial=0)
        return (low >= -LANE) & (high < LANE)


def layer_of(
    attrs: RequantizeAttributes, taps: Array, bias: Array, multiplier: Array, shift: Array
) -> Layer:
    """A layer of weights (channels, taps) that multiply raw activations; `shift` is to the left."""
    folded = requantization.fold_zero_point(bias, taps, attrs)
    reach = requantization.reach(taps, folded, attrs)
    return Layer(attrs, taps, folded, reach, *_without_vanishing(reach, multiplier, -shift))


def _without_vanishing(reach: Array, multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """Multipliers and shifts; zero, and a shift of others, for channels that are zero anyway.

    Their multiplier is zero, or they shift further than instructions can and all sums are less than
    a half then.
    """
    largest = ((reach.astype(object) * multiplier.astype(object)) >> 31) + 1
    halves = np.array([1 << max(int(e) - 1, 0) for e in shift], object)
    is_gone = (shift > LARGEST_SHIFT) & (largest < halves).astype(bool) | (multiplier == 0)
    usual = shift[~is_gone].max(initial=1)
    return np.where(is_gone, 0, multiplier), np.where(is_gone, usual, shift)


@dataclass(frozen=True)
class Floored:
    """One shift for all channels; no sign."""

    scale: Array  # bits by which weights are shifted to the left
    multiplier: Array
    offset: Array
    shift: int

    @property
    def columns(self) -> tuple[Array, ...]:
        """Parameters of a channel beside its bias, as they lie in memory."""
        return (self.multiplier, self.offset)

    def assembly(self, total: str) -> list[str]:
        """`total` to int8, with the parameters in `multiplier` and `offset`."""
        return [
            f"smmla {total}, {total}, multiplier, offset",
            f"ssat {total}, #8, {total}, asr #{self.shift}",
        ]

    @property
    def bias_scale(self) -> Array:
        """Bits by which biases are shifted to the left."""
        return self.scale

    @property
    def name(self) -> str:
        """Part of the names of micro-kernels that end with this form."""
        return f"floored{self.shift}"

    @property
    def plain(self) -> str:
        """The C function that computes the same."""
        return "tiny_scale_floored"


@dataclass(frozen=True)
class Rounded:
    """A shift for each channel, or one that all share; `has_sign` says whether negatives matter."""

    scale: Array
    multiplier: Array
    offset: Array
    shifts: Array
    has_sign: bool

    @property
    def bias_scale(self) -> Array:
        """As above: biases with fraction bits are scaled already but for the doubling."""
        return np.ones_like(self.scale)

    @property
    def shift(self) -> int:
        """The shift that all channels share, 0 if they do not."""
        return int(self.shifts[0]) if np.all(self.shifts == self.shifts[0]) else 0

    @property
    def columns(self) -> tuple[Array, ...]:
        """As above; shifts that differ are parameters too."""
        shared = (self.multiplier, self.offset)
        return shared if self.shift else (*shared, self.shifts)

    def assembly(self, total: str) -> list[str]:
        """As above, with `spare` for use, and the shift in `shift` unless all share it.

        `spare` is written before it is read, so that it may be where the bias was.
        """
        end = [f"ssat {total}, #8, {total}, asr #{self.shift}"]
        if not self.shift:
            end = [f"asr {total}, {total}, shift", f"ssat {total}, #8, {total}"]
        if not self.has_sign:
            return [f"smmlar {total}, {total}, multiplier, offset", *end]
        return [
            f"add spare, offset, {total}, asr #31",
            f"smmlar {total}, {total}, multiplier, spare",
            *end,
        ]

    @property
    def name(self) -> str:
        """As above."""
        kind = "signed" if self.has_sign else "rounded" if self.scale[0] == 1 else "once"
        return f"{kind}{self.shift or ''}"

    @property
    def plain(self) -> str:
        """As above."""
        return "tiny_scale" if self.has_sign else "tiny_scale_half_up"


Scaling = Floored | Rounded


def choose(layer: Layer) -> Scaling | None:
    """The cheapest form that is exact for a layer whose weights become 16-bit lanes, or None."""
    attrs = layer.attrs
    if not attrs.fraction_bits and attrs.clamp_min >= attrs.output_zero_point:
        largest = max(int(layer.shift.max()), 0) + 1
        for shift in range(min(largest, LARGEST_SHIFT), 0, -1):
            form = _floored(layer, shift)
            if form is not None:
                return form
    return rounded(layer)


def rounded(layer: Layer) -> Rounded | None:
    """The form that scales all weights alike, or None where it is not exact."""
    attrs, shift = layer.attrs, layer.shift.astype(np.int64)
    has_sign = not attrs.fraction_bits and attrs.clamp_min < attrs.output_zero_point
    in_range = np.all(shift >= int(has_sign)) and np.all(shift <= LARGEST_SHIFT)
    if not in_range or np.any(layer.reach >= 1 << 30):
        return None
    one = np.ones(len(layer.bias), np.int64)
    offset = (one << shift >> 1) + (attrs.output_zero_point << shift)
    scale = one + attrs.fraction_bits
    return Rounded(scale, layer.multiplier.astype(np.int64), offset, shift, has_sign)


def _floored(layer: Layer, common: int) -> Floored | None:
    """The form whose shift is `common`; multipliers of channels that shift further lose bits."""
    right = np.maximum(layer.shift.astype(np.int64), 0)
    left = np.maximum(-layer.shift.astype(np.int64), 0)
    lost = np.maximum(1 + right - common, 0)
    own = common - right + lost  # k
    scale = own + 1 + left
    fits = layer.fits(scale) & ((layer.reach.astype(object) << scale) < (1 << 31))
    if np.any(lost > 31) or not np.all(fits):
        return None
    rounded = (layer.multiplier.astype(np.int64) + (np.int64(1) << lost >> 1)) >> lost
    halves = (np.int64(1) << (own - 1)) + np.where(right > 0, 1 << (common - 1), 0)
    offset = halves + (np.int64(layer.attrs.output_zero_point) << common)
    form = Floored(scale, rounded, offset, common)
    changed = np.flatnonzero(lost)
    return form if all(_is_same(layer, form, int(channel)) for channel in changed) else None


def _is_same(layer: Layer, form: Floored, channel: int) -> bool:
    """Whether a channel's outputs are the reference's for every sum that it can reach.

    Both are monotone in the sum, so that they are equal if each of the 255 steps between int8
    values lies at the same sum: bisection finds where.
    """
    reach, one = int(layer.reach[channel]), slice(channel, channel + 1)

    def reference(acc: Array) -> Array:
        shifts = -layer.shift[one]
        return requantization.apply(acc[:, None], layer.multiplier[one], shifts, layer.attrs)[:, 0]

    def candidate(acc: Array) -> Array:
        high = ((acc << form.scale[channel]) * form.multiplier[channel]) >> 32
        scaled = (high + form.offset[channel]) >> form.shift
        return numerics.clamp_int8(scaled, layer.attrs.clamp_min, layer.attrs.clamp_max)

    return np.array_equal(steps(reference, reach), steps(candidate, reach))


def steps(function: Callable[[Array], Array], reach: int) -> Array:
    """For each int8 value above -128, the least sum in [-reach, reach + 1] that gets there."""
    values = np.arange(-127, 128, dtype=np.int64)
    low = np.full(len(values), -reach, np.int64)
    high = np.full(len(values), reach + 1, np.int64)
    while np.any(low < high):
        middle = (low + high) >> 1
        is_there = function(middle) >= values
        high = np.where(is_there, middle, high)
        low = np.where(is_there, low, np.minimum(middle + 1, high))
    return low
