"""tiny.qsoftmax: int8 softmax over the last axis, without floating point.

Meaning as in TensorFlow Lite's reference_ops::Softmax for int8: exp of (x - max) * scale in Q0.31
by gemmlowp's exp_on_negative_values, sums in Q12.19, one reciprocal by Newton-Raphson. The input
has 256 values, so every exponential is a table entry and only the reciprocal runs on the device.
Output scale is 1/256 and zero point -128.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import numerics, overlaps
from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define

OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 256, -128
DIFFERENCE_BITS = 5  # integer bits of the scaled difference
ACCUMULATOR_BITS = 12  # integer bits of the sum of exponentials
INT32_MAX = (1 << 31) - 1
# From 512 exponentials of one on, every output rounds to zero; TFLite Micro stops there.
LARGEST_TOTAL = 1 << 28
# exp(-2^k) in Q0.31 for k = -2 .. 4 (gemmlowp, fixedpoint.h)
BARREL = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


@dataclass(frozen=True)
class QSoftmaxAttributes(Attributes):
    """Scale of the input times beta."""

    scale: float


def _mul(a: int, b: int) -> int:
    return int(numerics.high_mul(a, b))


def _round_shift(x: int, exponent: int) -> int:
    return int(numerics.rounding_divide_by_power_of_two(x, exponent))


def _saturate(x: int) -> int:
    return max(-INT32_MAX - 1, min(INT32_MAX, x))


def _exp_quarter(a: int) -> int:
    """exp(a) in Q0.31 for a in [-1/4, 0) in Q0.31: a Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3, x4 = _mul(x2, x), _mul(x2, x2)
    third = 715827883  # 1/3
    higher = _round_shift(_mul(_round_shift(x4, 2) + x3, third) + x2, 1)
    constant = 1895147668  # exp(-1/8)
    return _saturate(constant + _mul(constant, x + higher))


def exp_on_negative_values(a: int, integer_bits: int = DIFFERENCE_BITS) -> int:
    """exp(a) in Q0.31 for a <= 0 with up to five integer bits."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    a_mod_quarter = (a & (quarter - 1)) - quarter
    result = _exp_quarter(_saturate(a_mod_quarter << integer_bits))
    remainder = a_mod_quarter - a
    for exponent, factor in BARREL:
        if exponent < integer_bits and remainder & (1 << (fraction_bits + exponent)):
            result = _mul(result, factor)
    return INT32_MAX if a == 0 else result


def exp_table(scale: float) -> Array:
    """Q0.31 exponential of each difference 0, -1 .. -255; zero where the reference skips it."""
    table = np.zeros(256, np.int32)
    table[0] = INT32_MAX
    if scale >= 1 << (DIFFERENCE_BITS - 1):  # exp(-scale) vanishes, and the shift would not fit
        return table
    real = scale * (1 << (31 - DIFFERENCE_BITS))
    multiplier, shift = (int(v) for v in numerics.quantize_multiplier(real))
    largest = math.floor(
        ((1 << DIFFERENCE_BITS) - 1) * (1 << (31 - DIFFERENCE_BITS)) / (1 << shift)
    )
    for difference in range(min(largest, 255) + 1):
        table[difference] = exp_on_negative_values(_mul(-difference << shift, multiplier))
    return table


def reciprocal(total: int) -> tuple[int, int]:
    """(1 / total as Q0.31, bits over the unit) of a sum in Q12.19, as gemmlowp's GetReciprocal."""
    headroom = 32 - total.bit_length()
    half_denominator = total << headroom >> 1
    x = 1515870810 + _mul(half_denominator, -1010580540)  # 48/17 - 32/17 d, in Q2.29
    for _ in range(3):
        x += _saturate(_mul(x, (1 << 29) - _mul(half_denominator, x)) << 2)
    return _saturate(x << 1), ACCUMULATOR_BITS - headroom


def infer(attrs: QSoftmaxAttributes, data: TensorSpec) -> TensorSpec:
    """Same shape, int8."""
    return data


def meaning(attrs: QSoftmaxAttributes, data: Array) -> Array:
    """Row by row."""
    table = exp_table(attrs.scale).astype(np.int64)
    rows = data.reshape(-1, data.shape[-1]).astype(np.int64)
    output = np.empty_like(rows)
    for row, out in zip(rows, output, strict=True):
        exponentials = table[row.max() - row]
        total = numerics.rounding_divide_by_power_of_two(exponentials, ACCUMULATOR_BITS).sum()
        scale, bits = reciprocal(min(int(total), LARGEST_TOTAL))
        product = numerics.high_mul(exponentials, scale)
        scaled = numerics.rounding_divide_by_power_of_two(product, bits + 31 - 8)
        out[:] = scaled + OUTPUT_ZERO_POINT
    return numerics.clamp_int8(output).reshape(data.shape)


def kernel(attrs: QSoftmaxAttributes, data: TensorSpec) -> Kernel:
    """Three passes over a row: largest value, sum, output."""
    rows, depth = data.elements // data.shape[-1], data.shape[-1]
    most = LARGEST_TOTAL

    def difference(
        x: tirx.Buffer, largest: tirx.Buffer, row: tirx.Expr, column: tirx.Expr
    ) -> tirx.Expr:
        return largest[0] - T.Cast("int32", x[row, column])

    def rounded(exponential: tirx.Expr) -> tirx.Expr:
        """From Q0.31 to Q12.19; exponentials are not negative."""
        half = T.shift_right(exponential, T.int32(ACCUMULATOR_BITS - 1))
        return T.shift_right(half + 1, T.int32(1))

    @T.prim_func(s_tir=True)
    def softmax(
        x: T.Buffer((rows, depth), "int8"),
        exp: T.Buffer((256,), "int32"),
        y: T.Buffer((rows, depth), "int8"),
    ):
        for row in range(rows):
            with T.sblock("row"):
                r = T.axis.spatial(rows, row)
                largest = T.sblock_alloc_buffer((1,), "int32")
                total = T.sblock_alloc_buffer((1,), "int32")
                scale = T.sblock_alloc_buffer((1,), "int32")
                shift = T.sblock_alloc_buffer((1,), "int32")
                largest[0] = -128
                for i in range(depth):
                    largest[0] = T.max(largest[0], T.Cast("int32", x[r, i]))
                total[0] = 0
                for i in range(depth):
                    total[0] = T.min(total[0] + rounded(exp[difference(x, largest, r, i)]), most)
                scale[0] = T.call_extern("int32", "tiny_reciprocal", total[0])
                shift[0] = T.call_extern("int32", "tiny_reciprocal_shift", total[0])
                for i in range(depth):
                    share = T.meta_var(
                        T.call_extern(
                            "int32",
                            "tiny_share",
                            exp[difference(x, largest, r, i)],
                            scale[0],
                            shift[0],
                        )
                    )
                    y[r, i] = T.Cast("int8", T.min(share + OUTPUT_ZERO_POINT, numerics.INT8_MAX))

    # the last pass over a row reads each element right before it writes it
    overlap = overlaps.elements(data, data)
    return Kernel("softmax", softmax, (("exp", exp_table(attrs.scale)),), overlaps=(overlap,))


QSOFTMAX = define(Operator("tiny.qsoftmax", QSoftmaxAttributes, infer, meaning, kernel))
