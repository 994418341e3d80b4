"""tiny.wide_add: int8 a + b or a - b to int16, of equal shapes: tiny.qadd before the clamp."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import elementwise, overlaps, qadd
from tvm_tiny.schedules.dialect import Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.qadd import QAddAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide


def infer(attrs: QAddAttributes, a: TensorSpec, b: TensorSpec) -> TensorSpec:
    """The operands' shape."""
    return wide.as_wide(a)


def meaning(attrs: QAddAttributes, a: Array, b: Array) -> Array:
    """Sum of both operands at a common scale, rescaled, not clamped."""
    return wide.saturate_int16(qadd.unclamped(attrs, a, b))


def kernel(attrs: QAddAttributes, a: TensorSpec, b: TensorSpec) -> Kernel:
    """A call of the runtime."""
    elementwise.check_reach(qadd.REACH << qadd.LEFT_SHIFT, attrs.output_shift)
    output = infer(attrs, a, b)
    form = [
        attrs.a_zero_point,
        attrs.a_multiplier,
        -attrs.a_shift,
        attrs.b_zero_point,
        attrs.b_multiplier,
        -attrs.b_shift,
        attrs.output_zero_point,
        attrs.output_multiplier,
        -attrs.output_shift,
        attrs.sign,
    ]
    overlap = overlaps.elements(a, output)
    return runtime_kernel(
        "wide_add",
        "tiny_wide_add",
        [("a", a), ("b", b)],
        output,
        (output.elements,),
        constants=[("form", np.array(form, np.int32))],
        sources=wide.ELEMENTWISE_SOURCES,
        overlaps=(overlap, overlap),
    )


WIDE_ADD = define(
    Operator(
        "tiny.wide_add",
        QAddAttributes,
        infer,
        meaning,
        kernel,
        reaches=elementwise.reaches,
    )
)
