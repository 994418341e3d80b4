"""How convolutions and dense layers bring an int32 accumulator back to int8.

output = clamp(output_zero_point + acc * multiplier * 2^(shift - 31)), rounded twice as TensorFlow
Lite Micro does. Multipliers are per channel; the shift is a constant of the kernel when all
channels share it and a small table otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array, Attributes
from tvm_tiny.schedules.elementwise import clamp
from tvm_tiny.schedules.microkernel import call

SMALLEST_SHIFT = -23  # zero_point << 23, a rounding half and a product below 2^30 fit a word
CHANNEL_TILE = 4  # output channels that share each loaded activation


@dataclass(frozen=True)
class RequantizeAttributes(Attributes):
    """Zero points of input and output, and the output's clamp.

    With `fraction_bits` f the bias counts in units of 2^-f and the output is rounded once, halves
    up, instead of as TensorFlow Lite does (f = 0): for sources whose own arithmetic rounds once.
    The real scales of input and output, where known, are for training; kernels do not need them.
    """

    input_zero_point: int
    output_zero_point: int
    clamp_min: int
    clamp_max: int
    fraction_bits: int = field(default=0, kw_only=True)
    input_scale: float = field(default=0.0, kw_only=True)
    output_scale: float = field(default=0.0, kw_only=True)


def apply(acc: Array, multiplier: Array, shift: Array, attrs: RequantizeAttributes) -> Array:
    """The meaning: int8 from accumulators (see `total`) whose last axis is the channels."""
    if attrs.fraction_bits:
        right = -shift.astype(np.int64)
        scaled = (numerics.high_mul(acc, multiplier) + (np.int64(1) << right >> 1)) >> right
    else:
        scaled = numerics.requantize(acc, multiplier, shift)
    shifted = scaled + attrs.output_zero_point
    return numerics.clamp_int8(shifted, attrs.clamp_min, attrs.clamp_max)


def total(sums: Array, bias: Array, attrs: RequantizeAttributes) -> Array:
    """Accumulators: sums of products and the bias in the bias's units."""
    return (sums.astype(np.int64) << attrs.fraction_bits) + bias


def bounded_bias(
    taps: Array, bias: Array, multiplier: Array, shift: Array, attrs: RequantizeAttributes
) -> tuple[Array, bool]:
    """Prove that no sum of a layer overflows, for any int8 input; taps are (channels, taps).

    Returns the bias and whether sums need the wide requantisation: the DSP form doubles the
    accumulator and stops at 2^30. Dead channels of pruned models carry biases beyond that; such a
    bias is brought inside where every output of its channel provably stays the same.
    Raises UnsupportedError where a sum can reach 2^31.
    """
    for limit in (1 << 30, 1 << 31):
        bounded, refused = _bring_inside(limit, taps, bias, multiplier, shift, attrs)
        if not np.any(refused):
            return bounded.astype(np.int32), limit > 1 << 30
    raise UnsupportedError(
        "a 32-bit accumulator could overflow",
        where=f"channel {int(np.argmax(refused))}",
        limit="2^31",
        hint="quantise with smaller biases or split the layer's input channels",
    )


def _bring_inside(
    limit: int,
    taps: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    attrs: RequantizeAttributes,
) -> tuple[Array, Array]:
    """Biases moved inside the limit, and which channels that would change."""
    zero_point = attrs.input_zero_point
    reach = max(numerics.INT8_MAX - zero_point, zero_point - numerics.INT8_MIN)
    magnitude = (np.abs(taps.astype(np.int64)).sum(axis=1) * reach) << attrs.fraction_bits
    room = ((limit - 1) >> np.maximum(shift.astype(np.int64), 0)) - magnitude
    bias = bias.astype(np.int64)
    bounded = np.clip(bias, np.minimum(-room, 0), np.maximum(room, 0))
    ends = [
        apply(value + end, multiplier, shift, attrs)
        for value in (bias, bounded)
        for end in (-magnitude, magnitude)
    ]
    is_same = np.logical_and.reduce([end == ends[0] for end in ends])
    return bounded, (room < 0) | ((bounded != bias) & ~is_same)


def pad_channels(values: Array, tile: int) -> Array:
    """Zeros appended to the first axis up to a multiple of `tile`."""
    missing = -len(values) % tile
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


def interleave(weight: Array, tile: int) -> Array:
    """(O, ...) to (O / tile, ..., tile), so that a tile's weights lie side by side."""
    padded = pad_channels(weight, tile)
    grouped = padded.reshape(-1, tile, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, -1))


def fold_zero_point(bias: Array, taps: Array, attrs: RequantizeAttributes) -> Array:
    """bias - zero_point * sum(weights): lets a loop without borders multiply raw activations."""
    weights = taps.reshape(len(bias), -1).astype(np.int64).sum(axis=1)
    return total(-attrs.input_zero_point * weights, bias, attrs).astype(np.int32)


def reach(taps: Array, folded: Array, attrs: RequantizeAttributes) -> Array:
    """Largest magnitude of each channel's sum; taps (channels, taps), zero point in the bias.

    Raw activations lie in [-128, 127], whatever the zero point.
    """
    products = np.abs(taps.astype(np.int64)).sum(axis=1) << 7
    return (products << attrs.fraction_bits) + np.abs(folded.astype(np.int64))


@dataclass(frozen=True)
class Epilogue:
    """TIR of `apply`: what a kernel does with each finished accumulator."""

    attrs: RequantizeAttributes
    shift: Array
    is_wide: bool

    def emit(
        self,
        products: tirx.Expr,
        bias: tirx.Buffer,
        multiplier: tirx.Buffer,
        shift_table: tirx.Buffer,
        channel: tirx.Expr,
    ) -> tirx.Expr:
        """int8 of one channel's sum of products."""
        acc = products * (1 << self.attrs.fraction_bits) + bias[channel]
        scaled = self._scale(acc, multiplier[channel], shift_table, channel)
        return clamp(
            scaled + self.attrs.output_zero_point, self.attrs.clamp_min, self.attrs.clamp_max
        )

    @property
    def shift_constant(self) -> tuple[str, Array]:
        """The kernel's shift table: to the right where all are, else as given."""
        is_right = bool(np.all(self.shift <= 0))
        return ("shift", (-self.shift if is_right else self.shift).astype(np.int8))

    def _scale(
        self, acc: tirx.Expr, multiplier: tirx.Expr, table: tirx.Buffer, channel: tirx.Expr
    ) -> tirx.Expr:
        name = "tiny_requantize_half_up" if self.attrs.fraction_bits else "tiny_requantize"
        name = f"{name}_wide" if self.is_wide else name
        _, shifts = self.shift_constant
        is_common = np.all(shifts == shifts[0])
        shift = int(shifts[0]) if is_common else T.Cast("int32", table[channel])
        name = name if np.all(self.shift <= 0) else f"{name}_any"
        return T.call_extern("int32", name, acc, multiplier, shift)


@dataclass(frozen=True)
class Clamp:
    """What is left to clamp of `count` outputs that micro-kernels have saturated to int8."""

    attrs: RequantizeAttributes
    count: int

    def call(self, first: tirx.Expr) -> tirx.Expr:
        """TIR of it; `first` is the first output."""
        low, high = self.attrs.clamp_min, self.attrs.clamp_max
        if (low, high) == (numerics.INT8_MIN, numerics.INT8_MAX):
            return T.int32(0)
        return call("tiny_clamp_bytes", first, self.count, low, high)


@dataclass(frozen=True)
class DspEpilogue:
    """Channel parameters of the runtime's epilogue: five instructions on cores with SMMULR.

    With the accumulator doubled, SMMULR is the doubling high multiply. Rounding, zero point and
    the shift then need one addition each: (p + (p >> 31) + 2^(s-1) + (zero_point << s)) >> s is
    zero_point + round(p / 2^s), halves away from zero, for s > 0.
    """

    attrs: RequantizeAttributes
    multiplier: Array
    shift: Array

    @staticmethod
    def supports(shift: Array, is_wide: bool) -> bool:
        """Whether all shifts are to the right, and every offset fits a word."""
        return not is_wide and bool(np.all(shift <= -1) and np.all(shift >= SMALLEST_SHIFT))

    @staticmethod
    def supports_left(shift: Array, is_wide: bool, largest: int) -> bool:
        """The same for kernels that take any mixture, and shifts to the left in their weights."""
        in_range = np.all(shift <= largest) and np.all(shift >= SMALLEST_SHIFT)
        return not is_wide and bool(in_range)

    @property
    def left(self) -> Array:
        """Shifts to the left, which have to be applied to weights and biases instead."""
        return np.maximum(self.shift.astype(np.int64), 0)

    def table(self, bias: Array) -> Array:
        """Twice the bias, multiplier, offset and shift of every channel: int64 (channels, 4)."""
        right = np.maximum(-self.shift.astype(np.int64), 0)
        offset = ((np.int64(1) << right) >> 1) + (self.attrs.output_zero_point << right)
        doubled = (2 * bias.astype(np.int64)) << self.left
        return np.stack([doubled, self.multiplier.astype(np.int64), offset, right], axis=1)


@dataclass(frozen=True)
class HeliumEpilogue:
    """Channel parameters of the runtime's epilogue on cores with Helium.

    VQRDMULH is the doubling high multiply and VRSHL shifts with a rounding half up. That is what
    TensorFlow Lite does but for the halves of negative numbers, which it rounds down: they count
    only where the output can be less than its zero point.
    """

    FIELDS: ClassVar[int] = 3
    FRACTION_BITS: ClassVar[int] = 7  # of biases that are rounded half up

    attrs: RequantizeAttributes
    multiplier: Array
    shift: Array

    @property
    def is_supported(self) -> bool:
        """Whether the runtime has a way to round like this."""
        if self.attrs.fraction_bits == 0:
            return True
        return self.attrs.fraction_bits == self.FRACTION_BITS and self._largest_shift <= 0

    @property
    def _largest_shift(self) -> int:
        # what is multiplied by zero may be shifted anywhere
        return int(self.shift[self.multiplier != 0].max(initial=-1))

    @property
    def way(self) -> str:
        """The rounding's name in the runtime."""
        if self.attrs.fraction_bits:
            return "half_up"
        if self.attrs.clamp_min >= self.attrs.output_zero_point and self._largest_shift <= 0:
            return "relu"
        return "away" if self._largest_shift < 0 else "any"

    def table(self, bias: Array) -> Array:
        """Bias, multiplier and shift of every channel: (channels, FIELDS)."""
        shift = np.where(self.multiplier == 0, -1, self.shift.astype(np.int64))
        left, right = np.maximum(shift, 0), np.minimum(shift, 0)
        words = right & ~0x7F00 | left << 8 if self.way == "any" else right
        return np.stack([bias, self.multiplier, words], axis=1).astype(np.int32)
