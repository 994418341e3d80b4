"""What rules of QuantizedToTiny share: islands, rescaling, layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._quantized import Quantized, constant
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.lookup import DOMAIN, LOOKUP, LookupAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]
NHWC_FROM_NCHW, NCHW_FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class Island:
    """quantize(activations(core + bias)): everything between the integers on both sides."""

    core: ir.Call
    bias: ir.Expr | None
    low: float
    high: float
    output: Quantized

    @property
    def clamp(self) -> tuple[int, int]:
        """The activations as bounds on the output's integers."""
        return (self._integer(self.low), self._integer(self.high))

    def _integer(self, bound: float) -> int:
        if np.isinf(bound):
            return numerics.INT8_MIN if bound < 0 else numerics.INT8_MAX
        scaled = numerics.round_half_away(np.float32(bound) / np.float32(self.output.scalar_scale))
        integer = int(scaled) + self.output.zero_point
        return max(numerics.INT8_MIN, min(numerics.INT8_MAX, integer))


def rescale(walk: Walk, known: Quantized, output: Quantized) -> ir.Expr:
    """The same real values under other parameters: nothing, or a table."""
    if known.has_parameters_of(output):
        return known.expr
    if walk.source == "tflite":
        real = known.scalar_scale / output.scalar_scale
        scaled = numerics.requantize(DOMAIN - known.zero_point, *numerics.quantize_multiplier(real))
    else:
        values = np.float32(known.scalar_scale) * (DOMAIN - known.zero_point).astype(np.float32)
        scaled = np.round(values / np.float32(output.scalar_scale))
    return lookup("rescale", known.expr, numerics.clamp_int8(scaled + output.zero_point))


def lookup(function: str, data: ir.Expr, table: Array) -> ir.Expr:
    """A table look-up call."""
    return LOOKUP(LookupAttributes(function), data, constant(table.astype(np.int8)))


LONGEST_FOLDED = 11  # beyond this the bits that a shorter multiplier lacks weigh more


def fixed_point(walk: Walk, reals: Any) -> tuple[Array, Array]:
    """Multipliers and shifts of factors.

    TensorFlow Lite rounds once after the multiplier and again after the shift to the right. Other
    sources round once: there a multiplier with fewer bits takes in its shift to the right.
    """
    multiplier, shift = numerics.quantize_multiplier(reals)
    if walk.source == "tflite":
        return multiplier, shift
    right = np.where((shift < 0) & (shift >= -LONGEST_FOLDED), -shift, 0).astype(np.int64)
    folded = (multiplier.astype(np.int64) + ((1 << right) >> 1)) >> right
    return folded.astype(np.int32), (shift + right).astype(np.int32)


def pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def four_sides(padding: Any) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of one, two or four numbers."""
    values = [int(p) for p in padding]
    top, left, bottom, right = values * (4 // len(values))
    return top, left, bottom, right


def to_nhwc(walk: Walk, data: ir.Expr, layout: str) -> tuple[ir.Expr, bool]:
    if layout == "NHWC":
        return data, False
    if layout != "NCHW":
        raise UnsupportedError(f"layout {layout}", where=walk.name)
    return walk.emit(TRANSPOSE(TransposeAttributes(NHWC_FROM_NCHW), data), "_nhwc"), True


def from_nhwc(walk: Walk, call: ir.Expr, is_nchw: bool) -> ir.Expr:
    if not is_nchw:
        return call
    return TRANSPOSE(TransposeAttributes(NCHW_FROM_NHWC), walk.emit(call))


def clamp_output(walk: Walk, data: ir.Expr, island: Island) -> ir.Expr:
    low, high = island.clamp
    if (low, high) == (numerics.INT8_MIN, numerics.INT8_MAX):
        return data
    return clip(walk.emit(data), low, high)


def clip(data: ir.Expr, low: int, high: int) -> ir.Expr:
    """A clamp of integers, as a table; FoldClamps moves it into the producer where it can."""
    return lookup(f"clip_{low}_{high}".replace("-", "m"), data, np.clip(DOMAIN, low, high))
