"""How convolutions and dense layers bring an int32 accumulator back to int8.

output = clamp(output_zero_point + acc * multiplier * 2^(shift - 31)), rounded twice as TensorFlow
Lite Micro does. Multipliers are per channel; the shift is a constant of the kernel when all
channels share it and a small table otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array, Attributes

CHANNEL_TILE = 4  # output channels that share each loaded activation


@dataclass(frozen=True)
class RequantizeAttributes(Attributes):
    """Zero points of input and output, and the output's clamp."""

    input_zero_point: int
    output_zero_point: int
    clamp_min: int
    clamp_max: int


def apply(acc: Array, multiplier: Array, shift: Array, attrs: RequantizeAttributes) -> Array:
    """The meaning: int8 from accumulators whose last axis is the channels."""
    scaled = numerics.requantize(acc, multiplier, shift) + attrs.output_zero_point
    return numerics.clamp_int8(scaled, attrs.clamp_min, attrs.clamp_max)


def pad_channels(values: Array, tile: int) -> Array:
    """Zeros appended to the first axis up to a multiple of `tile`."""
    missing = -len(values) % tile
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


def interleave(weight: Array, tile: int) -> Array:
    """(O, ...) to (O / tile, ..., tile), so that a tile's weights lie side by side."""
    padded = pad_channels(weight, tile)
    grouped = padded.reshape(-1, tile, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, -1))


def fold_zero_point(bias: Array, taps: Array, zero_point: int) -> Array:
    """bias - zero_point * sum(weights): lets a loop without borders multiply raw activations."""
    total = taps.reshape(len(bias), -1).astype(np.int64).sum(axis=1)
    return (bias.astype(np.int64) - zero_point * total).astype(np.int32)


def common_shift(shift: Array) -> int | None:
    """The shift that all channels share, or None."""
    return int(shift[0]) if np.all(shift == shift[0]) else None


def emit(
    attrs: RequantizeAttributes, acc: tirx.Expr, multiplier: tirx.Expr, shift: tirx.Expr | int
) -> tirx.Expr:
    """TIR of `apply` for one accumulator."""
    scaled = _scale(acc, multiplier, shift)
    shifted = scaled + attrs.output_zero_point
    clamped = T.call_extern("int32", "tiny_clamp", shifted, attrs.clamp_min, attrs.clamp_max)
    return T.Cast("int8", clamped)


def _scale(acc: tirx.Expr, multiplier: tirx.Expr, shift: tirx.Expr | int) -> tirx.Expr:
    if isinstance(shift, int) and shift <= 0:
        return T.call_extern("int32", "tiny_requantize", acc, multiplier, -shift)
    return T.call_extern("int32", "tiny_requantize_any", acc, multiplier, shift)


def shift_of(shift: Array, table: tirx.Buffer, channel: tirx.Expr) -> tirx.Expr | int:
    """The common shift as a number, else a load from the kernel's shift table."""
    common = common_shift(shift)
    return T.Cast("int32", table[channel]) if common is None else common
