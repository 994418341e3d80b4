"""tiny.wide_mul: int8 a * b to int16, of equal shapes: tiny.qmul before the clamp."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import elementwise, overlaps, qmul
from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.qmul import QMulAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide


def infer(attrs: QMulAttributes, a: TensorSpec, b: TensorSpec) -> TensorSpec:
    """The operands' shape."""
    return wide.as_wide(a)


def meaning(attrs: QMulAttributes, a: Array, b: Array) -> Array:
    """Product of the two, less their zero points, rescaled, not clamped."""
    return wide.saturate_int16(qmul.unclamped(attrs, a, b))


def kernel(attrs: QMulAttributes, a: TensorSpec, b: TensorSpec) -> Kernel:
    """A call of the runtime."""
    elementwise.check_reach(255 * 255, attrs.shift)
    output = infer(attrs, a, b)
    form = [
        attrs.a_zero_point,
        attrs.b_zero_point,
        attrs.output_zero_point,
        attrs.multiplier,
        -attrs.shift,
    ]
    overlap = overlaps.elements(a, output)
    return runtime_kernel(
        "wide_mul",
        "tiny_wide_mul",
        [("a", a), ("b", b)],
        output,
        (output.elements,),
        constants=[("form", np.array(form, np.int32))],
        sources=wide.ELEMENTWISE_SOURCES,
        overlaps=(overlap, overlap),
    )


WIDE_MUL = define(
    Operator(
        "tiny.wide_mul",
        QMulAttributes,
        infer,
        meaning,
        kernel,
        reaches=elementwise.reaches,
    )
)
