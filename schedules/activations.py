"""Activations of int8 as TensorFlow Lite Micro computes them, each as a table of 256 results.

Sources: TensorFlow Lite's reference_integer_ops (Logistic, Tanh), reference_ops (HardSwish,
QuantizeLeakyRelu, ReluQuantized) and gemmlowp's fixedpoint.h. Every table is a meaning, not an
approximation of one: tests compare all 256 entries with TensorFlow Lite Micro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.qsoftmax import exp_on_negative_values

INPUT_BITS = 4  # integer bits of the arguments of logistic and tanh
INT32_MAX = (1 << 31) - 1
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
ONE = INT32_MAX  # 1.0 in Q0.31


@dataclass(frozen=True)
class Scaling:
    """Scale and zero point of input and output, scales being exact float32 values."""

    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int

    @property
    def differences(self) -> Array:
        """All int8 values less the input's zero point."""
        return DOMAIN - self.input_zero_point


def relu(scaling: Scaling) -> Array:
    """max(x, 0), rescaled."""
    real = scaling.input_scale / scaling.output_scale
    scaled = numerics.requantize(scaling.differences, *numerics.quantize_multiplier(real))
    return numerics.clamp_int8(scaled + scaling.output_zero_point, scaling.output_zero_point)


def relu6(scaling: Scaling) -> Array:
    """Integers clamped to the input's own 0 and 6; like the reference it does not rescale."""
    six = numerics.round_half_away(np.float32(6) / np.float32(scaling.input_scale))
    high = min(int(six) + scaling.input_zero_point, numerics.INT8_MAX)
    return numerics.clamp_int8(DOMAIN, scaling.input_zero_point, high)


def leaky_relu(scaling: Scaling, alpha: float) -> Array:
    """x where positive, else alpha * x, both rescaled."""
    if alpha < 0:  # the reference rounds negative multipliers in a way of its own
        raise UnsupportedError("leaky ReLU of a negative slope", limit=0, found=alpha)
    x, real = scaling.differences, scaling.input_scale / scaling.output_scale
    positive = numerics.requantize(x, *numerics.quantize_multiplier(real))
    slope = scaling.input_scale * float(np.float32(alpha)) / scaling.output_scale
    negative = numerics.requantize(x, *numerics.quantize_multiplier(slope))
    return numerics.clamp_int8(np.where(x >= 0, positive, negative) + scaling.output_zero_point)


def logistic(scaling: Scaling) -> Array:
    """1 / (1 + exp(-x)) at the fixed output scale 1/256, zero point -128."""
    table = _saturating(scaling, _logistic)
    return numerics.clamp_int8(numerics.rounding_divide_by_power_of_two(table, 31 - 8) - 128)


def tanh(scaling: Scaling) -> Array:
    """tanh(x) at the fixed output scale 1/128, zero point 0."""
    table = _saturating(scaling, _tanh)
    return numerics.clamp_int8(numerics.rounding_divide_by_power_of_two(table, 31 - 7))


def hard_swish(scaling: Scaling) -> Array:
    """x * clip(x + 3, 0, 6) / 6 in 16-bit fixed point."""
    fine_scale = np.float32(1 / 128) * np.float32(scaling.input_scale)
    multiplier, exponent = _multiplier16(float(fine_scale / np.float32(scaling.output_scale)))
    gate_multiplier, gate_exponent = _multiplier16(float(fine_scale / np.float32(3 / 32768)))
    if exponent > 0:
        raise UnsupportedError(
            "hard swish whose output scale is below 1/128 of the input's",
            limit=scaling.input_scale / 128,
            found=scaling.output_scale,
        )
    fine = scaling.differences * 128
    gate = _scale16(fine, gate_multiplier, gate_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * _high_mul16(fine, multiplier)
    truncated = np.sign(product) * (np.abs(product) >> 15)
    output = numerics.rounding_divide_by_power_of_two(truncated, -exponent)
    return numerics.clamp_int8(output + scaling.output_zero_point)


def _saturating(scaling: Scaling, function: Callable[[int], int]) -> Array:
    """Q0.31 results for every int8; beyond a radius that Q4.27 cannot hold, the extremes."""
    if scaling.input_scale >= 1 << (INPUT_BITS - 1):  # a radius of zero
        return np.array([_extreme(function, int(x)) for x in scaling.differences])
    real = scaling.input_scale * (1 << (31 - INPUT_BITS))
    multiplier, shift = numerics.quantize_multiplier(real)
    radius = int(((1 << INPUT_BITS) - 1) * (1 << (31 - INPUT_BITS)) / 2.0 ** int(shift))
    arguments = numerics.requantize(scaling.differences, multiplier, shift)
    results = np.empty(256, np.int64)
    for index, (x, argument) in enumerate(zip(scaling.differences, arguments, strict=True)):
        is_inside = -radius < x < radius
        results[index] = function(int(argument)) if is_inside else _extreme(function, int(x))
    return results


def _extreme(function: Callable[[int], int], x: int) -> int:
    return ONE if x > 0 else (0 if function is _logistic else -ONE)


def _logistic(a: int) -> int:
    if a == 0:
        return 1 << 30
    x = _inverse_of_one_plus(exp_on_negative_values(-abs(a), INPUT_BITS))
    positive = _saturate(x << 1)
    return positive if a > 0 else ONE - positive


def _tanh(a: int) -> int:
    if a == 0:
        return 0
    # The argument doubles by being read with one more integer bit.
    x = _inverse_of_one_plus(exp_on_negative_values(-abs(a), INPUT_BITS + 1))
    magnitude = _saturate((x - (1 << 29)) << 2)
    return magnitude if a > 0 else -magnitude


def _inverse_of_one_plus(a: int) -> int:
    """2 / (1 + a) in Q2.29 for a in Q0.31: three steps of Newton and Raphson."""
    half_denominator = (a + ONE + 1) >> 1
    x = 1515870810 + _mul(half_denominator, -1010580540)  # 48/17 - 32/17 d
    for _ in range(3):
        x += _saturate(_mul(x, (1 << 29) - _mul(half_denominator, x)) << 2)
    return x


def _mul(a: int, b: int) -> int:
    return int(numerics.high_mul(a, b))


def _saturate(x: int) -> int:
    return max(-INT32_MAX - 1, min(INT32_MAX, x))


def _multiplier16(real: float) -> tuple[int, int]:
    """A multiplier narrowed to 16 bits, and its shift (left when positive)."""
    multiplier, shift = (int(v) for v in numerics.quantize_multiplier(real))
    return min((multiplier + (1 << 15)) >> 16, INT16_MAX), shift


def _high_mul16(a: Array, b: int) -> Array:
    return (a * b + (1 << 14)) >> 15


def _scale16(values: Array, multiplier: int, exponent: int) -> Array:
    """values * multiplier * 2^(exponent - 15), saturating; the last doubling comes at the end."""
    if exponent <= 0:
        scaled = _high_mul16(values, multiplier)
        return numerics.rounding_divide_by_power_of_two(scaled, -exponent)
    raised = np.clip(values << (exponent - 1), INT16_MIN, INT16_MAX)
    return np.clip(_high_mul16(raised, multiplier) * 2, INT16_MIN, INT16_MAX)
