"""tiny.quantize: float32 to int8."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, numerics, overlaps, quantize_integer
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.microkernel import call

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_quantize.h", "tvm_tiny_quantize.c")
SCALE_RANGE = (2.0**-60, 2.0**60)  # where nothing that matters is subnormal
LARGEST = 256  # quotients from here on saturate, whatever the zero point
NEIGHBOURS = 4  # float32 values on either side of a half in which all differences lie


@dataclass(frozen=True)
class QuantizeAttributes(Attributes):
    """q = round(x / scale) + zero_point, clamped."""

    scale: float
    zero_point: int


def infer(attrs: QuantizeAttributes, data: TensorSpec) -> TensorSpec:
    """Same shape, int8."""
    return TensorSpec(data.shape, "int8")


def meaning(attrs: QuantizeAttributes, data: Array) -> Array:
    """Affine quantisation in float32, halves away from zero, saturating."""
    scaled = data.astype(np.float32) / np.float32(attrs.scale)
    bounded = np.clip(numerics.round_half_away(scaled), -1024, 1024)
    return numerics.clamp_int8(bounded.astype(np.int64) + attrs.zero_point)


def kernel(attrs: QuantizeAttributes, data: TensorSpec) -> Kernel:
    """One pass over the elements."""
    n, scale, zero_point = data.elements, attrs.scale, attrs.zero_point

    @T.prim_func(s_tir=True)
    def quantize(x: T.Buffer((n,), "float32"), y: T.Buffer((n,), "int8")):
        for i in range(n):
            with T.sblock("quantize"):
                v = T.axis.spatial(n, i)
                y[v] = T.Cast(
                    "int8",
                    T.call_extern("int32", "tiny_quantize", x[v], T.float32(scale), zero_point),
                )

    overlap = overlaps.elements(data, infer(attrs, data))
    return Kernel("quantize", quantize, overlaps=(overlap,))


def split_inverse(scale: float) -> tuple[float, float] | None:
    """1 / scale as the sum of two float32, if fused arithmetic with them rounds as division does.

    The low part is positive, so that infinities stay what they are. None where the proof fails.
    """
    if not SCALE_RANGE[0] < scale < SCALE_RANGE[1]:
        return None
    inverse = 1 / Fraction(scale)
    high = np.float32(inverse)
    if Fraction(float(high)) >= inverse:
        high = np.nextafter(high, np.float32(0))
    parts = (float(high), float(np.float32(inverse - Fraction(float(high)))))
    return parts if all(_rounds_alike(scale, parts, k) for k in range(LARGEST)) else None


def _rounds_alike(scale: float, inverse: tuple[float, float], whole: int) -> bool:
    """Whether the same float32 is the first whose quotient rounds to whole + 1.

    Quotient and fused sum both grow with x, and are odd functions: it is enough to look around
    (whole + 1/2) * scale. A quotient becomes whole + 1/2 from half a unit in the last place below.
    """
    half = np.float32(whole + 0.5)
    below = Fraction(float(np.nextafter(half, np.float32(0))))
    bound = (Fraction(float(half)) + below) / 2
    x = np.float32(float(half) * scale)
    for _ in range(NEIGHBOURS):
        x = np.nextafter(x, np.float32(0))
    found = []
    for _ in range(2 * NEIGHBOURS + 1):
        exact, low = Fraction(float(x)), np.float32(inverse[1]) * x
        fused = exact * Fraction(inverse[0]) + Fraction(float(low))
        found.append((exact / Fraction(scale) >= bound, fused >= bound))
        x = np.nextafter(x, np.float32(np.inf))
    are_equal = all(divided == multiplied for divided, multiplied in found)
    return are_equal and not found[0][0] and found[-1][0]


def fused_kernel(attrs: QuantizeAttributes, data: TensorSpec) -> Kernel | None:
    """Multiplication by the inverse instead of division, where that is proved to be the same."""
    inverse = split_inverse(attrs.scale)
    if inverse is None:
        return None
    n, scale, zero_point, (high, low) = data.elements, attrs.scale, attrs.zero_point, inverse

    @T.prim_func(s_tir=True)
    def quantize(x: T.Buffer((n,), "float32"), y: T.Buffer((n,), "int8")):
        T.evaluate(
            call(
                "tiny_quantize_run",
                x[0],
                n,
                T.float32(scale),
                T.float32(high),
                T.float32(low),
                zero_point,
                y[0],
            )
        )

    overlap = overlaps.elements(data, infer(attrs, data))
    return Kernel("quantize", quantize, sources=SOURCES, overlaps=(overlap,))


QUANTIZE = define(
    Operator(
        "tiny.quantize",
        QuantizeAttributes,
        infer,
        meaning,
        kernel,
        variants=(
            Variant("fused", frozenset({"fpu"}), fused_kernel),
            Variant("integer", frozenset(), quantize_integer.kernel),
        ),
        reaches=elementwise.reaches,
    )
)
