"""tiny.qadd: int8 a + b or a - b, each with its own scale, with broadcasting.

Meaning as in TensorFlow Lite's reference_integer_ops::Add: both operands are brought to a common
scale with 20 extra bits, added, and brought to the output's scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, linear_form, numerics
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.linear_form import LinearForm

LEFT_SHIFT = 20
REACH = 255  # of a difference of two int8; operands are halved before they are added


@dataclass(frozen=True)
class QAddAttributes(Attributes):
    """Zero points, fixed-point multipliers (all below one) and the clamp; sign is +1 or -1."""

    a_zero_point: int
    a_multiplier: int
    a_shift: int
    b_zero_point: int
    b_multiplier: int
    b_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    clamp_min: int
    clamp_max: int
    sign: int


def attributes(
    scales: tuple[float, float, float], zero_points: tuple[int, int, int], sign: int = 1
) -> QAddAttributes:
    """Attributes from the scales and zero points of (a, b, output)."""
    a_scale, b_scale, output_scale = scales
    twice_larger = 2 * max(a_scale, b_scale)
    reals = [
        a_scale / twice_larger,
        b_scale / twice_larger,
        twice_larger / ((1 << LEFT_SHIFT) * output_scale),
    ]
    a, b, output = ([int(v) for v in numerics.quantize_multiplier(real)] for real in reals)
    return QAddAttributes(
        a_zero_point=zero_points[0],
        a_multiplier=a[0],
        a_shift=a[1],
        b_zero_point=zero_points[1],
        b_multiplier=b[0],
        b_shift=b[1],
        output_zero_point=zero_points[2],
        output_multiplier=output[0],
        output_shift=output[1],
        clamp_min=numerics.INT8_MIN,
        clamp_max=numerics.INT8_MAX,
        sign=sign,
    )


def infer(attrs: QAddAttributes, a: Argument, b: Argument) -> TensorSpec:
    """The broadcast shape."""
    return TensorSpec(elementwise.broadcast_shape(a, b), "int8")


def meaning(attrs: QAddAttributes, a: Array, b: Array) -> Array:
    """Sum of both operands at a common scale, rescaled."""
    return numerics.clamp_int8(unclamped(attrs, a, b), attrs.clamp_min, attrs.clamp_max)


def unclamped(attrs: QAddAttributes, a: Array, b: Array) -> Array:
    """The sum before it is brought into int8."""

    def rescale(values: Array, zero_point: int, multiplier: int, shift: int) -> Array:
        raised = (values.astype(np.int64) - zero_point) << LEFT_SHIFT
        return numerics.requantize(raised, multiplier, shift)

    total = rescale(a, attrs.a_zero_point, attrs.a_multiplier, attrs.a_shift)
    total = total + attrs.sign * rescale(b, attrs.b_zero_point, attrs.b_multiplier, attrs.b_shift)
    scaled = numerics.requantize(total, attrs.output_multiplier, attrs.output_shift)
    return scaled + attrs.output_zero_point


def kernel(attrs: QAddAttributes, a: Argument, b: Argument) -> Kernel:
    """One pass over the output."""
    elementwise.check_reach(REACH << LEFT_SHIFT, attrs.output_shift)

    def rescale(value: tirx.Expr, zero_point: int, multiplier: int, shift: int) -> tirx.Expr:
        raised = (T.Cast("int32", value) - zero_point) * (1 << LEFT_SHIFT)
        return T.call_extern("int32", "tiny_requantize", raised, multiplier, -shift)

    def compute(x: tirx.Expr, y: tirx.Expr) -> tirx.Expr:
        left = rescale(x, attrs.a_zero_point, attrs.a_multiplier, attrs.a_shift)
        right = rescale(y, attrs.b_zero_point, attrs.b_multiplier, attrs.b_shift)
        total = left + right if attrs.sign > 0 else left - right
        scaled = elementwise.scale(total, attrs.output_multiplier, attrs.output_shift)
        return elementwise.clamp(scaled + attrs.output_zero_point, attrs.clamp_min, attrs.clamp_max)

    return elementwise.binary_kernel(_name(attrs), a, b, compute)


def form(attrs: QAddAttributes) -> LinearForm | None:
    """The proved line of arithmetic that gives this sum, before the clamp; see linear_form.py."""
    output = _real(attrs.output_multiplier, attrs.output_shift + LEFT_SHIFT)
    slopes = (
        _real(attrs.a_multiplier, attrs.a_shift) * output,
        _real(attrs.b_multiplier, attrs.b_shift) * output * attrs.sign,
    )
    whole = replace(attrs, clamp_min=numerics.INT8_MIN, clamp_max=numerics.INT8_MAX)
    a, b = np.meshgrid(linear_form.VALUES, linear_form.VALUES, indexing="ij")
    return linear_form.linear_form(meaning(whole, a, b), slopes)


def _real(multiplier: int, shift: int) -> float:
    return multiplier * 2.0 ** (shift - 31)


def linear_kernel(attrs: QAddAttributes, a: Argument, b: Argument) -> Kernel | None:
    """Two multiplications, a shift and a saturation per element, where a linear form exists."""
    found = form(attrs)
    if found is None:
        return None
    name, low, high = _name(attrs), attrs.clamp_min, attrs.clamp_max
    run = elementwise.RunCall(f"tiny_add_{found.shift}", found.array, low, high)

    def compute(x: tirx.Expr, y: tirx.Expr) -> tirx.Expr:
        return elementwise.clamp(found.emit(x, y), low, high)

    return elementwise.run_kernel(name, a, b, run) or elementwise.binary_kernel(name, a, b, compute)


def _name(attrs: QAddAttributes) -> str:
    return "add" if attrs.sign > 0 else "sub"


QADD = define(
    Operator(
        "tiny.qadd",
        QAddAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("linear", frozenset(), linear_kernel),),
        reaches=elementwise.reaches,
    )
)
