"""float32 to int8 in integers: the fast way where floats are computed by a library.

With x = m 2^a and scale = n 2^b, mantissas in [1, 2), the quotient is m (1/n) 2^(a - b): one
multiply of 32 by 32 bits and a shift, rounded down to 20 bits behind the point. It is at most
1.5 2^-20 less than x / scale, and the float that x / scale is rounded to is within 2^-16 of that
below 512. So all three become the same integer unless the first is within 2^-14 of a half; then,
once in 8192 times, the division is done as the meaning says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import call

if TYPE_CHECKING:
    from tvm_tiny.schedules.quantize import QuantizeAttributes

SOURCES = ("tvm_tiny_quantize_integer.h", "tvm_tiny_quantize_integer.c")
SCALE_RANGE = (2.0**-100, 2.0**100)  # where no bound is subnormal or infinite
LEAST, MOST = 0.25, 300  # quotients that need no division, whatever the zero point
FIELDS = 4
BIAS, QUOTIENT_BITS, FRACTION_BITS = 127, 31, 20


def table_of(scale: float) -> Array:
    """What the runtime knows of a scale: see runtime/tvm_tiny_quantize_integer.h."""
    mantissa, exponent = np.frexp(np.float64(np.float32(scale)))
    inverse = min(int(2**31 / float(mantissa)), 2**32 - 1)  # of twice the mantissa
    shift = BIAS + QUOTIENT_BITS - FRACTION_BITS + int(exponent) - 1
    least, most = (int(np.float32(scale * bound).view(np.uint32)) for bound in (LEAST, MOST))
    return np.array([inverse, shift, least, most - least], np.uint32).view(np.int32)


def kernel(attrs: QuantizeAttributes, data: TensorSpec) -> Kernel | None:
    """The kernel; None for scales far from all that quantises anything."""
    if not SCALE_RANGE[0] < attrs.scale < SCALE_RANGE[1]:
        return None
    n, scale, zero_point = data.elements, attrs.scale, attrs.zero_point

    @T.prim_func(s_tir=True)
    def quantize(
        x: T.Buffer((n,), "float32"), table: T.Buffer((FIELDS,), "int32"), y: T.Buffer((n,), "int8")
    ):
        T.evaluate(
            call("tiny_quantize_integer", x[0], n, table[0], T.float32(scale), zero_point, y[0])
        )

    return Kernel("quantize", quantize, (("scale", table_of(scale)),), sources=SOURCES)
