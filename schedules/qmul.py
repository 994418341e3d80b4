"""tiny.qmul: int8 a * b with broadcasting (TensorFlow Lite's reference_integer_ops::Mul)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, numerics
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

MAX_SHIFT = 22  # for which the zero point shifted to the left fits 32 bits with room to spare


@dataclass(frozen=True)
class QMulAttributes(Attributes):
    """Zero points, the product's fixed-point multiplier, and the clamp."""

    a_zero_point: int
    b_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp_min: int
    clamp_max: int


def attributes(
    scales: tuple[float, float, float], zero_points: tuple[int, int, int]
) -> QMulAttributes:
    """Attributes from the scales and zero points of (a, b, output)."""
    multiplier, shift = numerics.quantize_multiplier(scales[0] * scales[1] / scales[2])
    return QMulAttributes(
        *zero_points, int(multiplier), int(shift), numerics.INT8_MIN, numerics.INT8_MAX
    )


def infer(attrs: QMulAttributes, a: Argument, b: Argument) -> TensorSpec:
    """The broadcast shape."""
    return TensorSpec(elementwise.broadcast_shape(a, b), "int8")


def meaning(attrs: QMulAttributes, a: Array, b: Array) -> Array:
    """Product of the two, less their zero points, rescaled."""
    return numerics.clamp_int8(unclamped(attrs, a, b), attrs.clamp_min, attrs.clamp_max)


def unclamped(attrs: QMulAttributes, a: Array, b: Array) -> Array:
    """The product before it is brought into int8."""
    product = (a.astype(np.int64) - attrs.a_zero_point) * (b.astype(np.int64) - attrs.b_zero_point)
    return numerics.requantize(product, attrs.multiplier, attrs.shift) + attrs.output_zero_point


def kernel(attrs: QMulAttributes, a: Argument, b: Argument) -> Kernel:
    """One pass over the output."""
    elementwise.check_reach(255 * 255, attrs.shift)

    def compute(x: tirx.Expr, y: tirx.Expr) -> tirx.Expr:
        product = (T.Cast("int32", x) - attrs.a_zero_point) * (
            T.Cast("int32", y) - attrs.b_zero_point
        )
        scaled = elementwise.scale(product, attrs.multiplier, attrs.shift)
        return elementwise.clamp(scaled + attrs.output_zero_point, attrs.clamp_min, attrs.clamp_max)

    return elementwise.binary_kernel("mul", a, b, compute)


def run_kernel(attrs: QMulAttributes, a: Argument, b: Argument) -> Kernel | None:
    """Runs of contiguous elements, four or eight at a time."""
    shift = -attrs.shift
    if not 1 <= shift <= MAX_SHIFT:
        return None
    points = (-attrs.a_zero_point, -attrs.b_zero_point)
    form = np.array([*points, attrs.multiplier, shift, attrs.output_zero_point], np.int32)
    run = elementwise.RunCall("tiny_mul", form, attrs.clamp_min, attrs.clamp_max)
    return elementwise.run_kernel("mul", a, b, run)


QMUL = define(
    Operator(
        "tiny.qmul",
        QMulAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("runs", frozenset(), run_kernel),),
        reaches=elementwise.reaches,
    )
)
