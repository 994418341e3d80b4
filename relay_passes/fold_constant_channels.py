"""FoldConstantChannels: output channels that no input can change get zero weights.

Pruned and badly scaled channels are common: all weights zero, or a multiplier so small that the
whole reach of the sum rounds to one value. Such a channel keeps its one value as a bias, under a
multiplier that every kernel has a fast path for. Exact, since requantisation is monotone: where
both ends of the sum's reach give one value, all sums do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass, apply_rules
from tvm_tiny.schedules import requantization
from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of

CHANNEL_AXIS = {"tiny.qconv2d": 0, "tiny.qdense": 0, "tiny.qdepthwise_conv2d": -1}
MULTIPLIER = 1 << 30  # with a shift of s to the right, exactly 2^-(s + 1)
MAX_SHIFT = 20  # keeps (value - zero_point) << (s + 1) well inside a word


def constant_values(attrs: Any, weight: Array, axis: int, tail: list[Array]) -> list[int | None]:
    """For each output channel its one value, or None."""
    bias, multiplier, shift = tail
    taps = np.moveaxis(weight, axis, 0).reshape(len(bias), -1).astype(np.int64)
    low, high = -128 - attrs.input_zero_point, 127 - attrs.input_zero_point
    positive, negative = np.maximum(taps, 0).sum(axis=1), np.minimum(taps, 0).sum(axis=1)
    ends = [
        requantization.apply(requantization.total(reach, bias, attrs), multiplier, shift, attrs)
        for reach in (positive * low + negative * high, positive * high + negative * low)
    ]
    return [int(a) if a == b else None for a, b in zip(*ends, strict=True)]


def _fold(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    attrs, axis = attributes_of(call), CHANNEL_AXIS[call.op.name]
    weight, *tail = (argument.value.numpy() for argument in call.args[1:])
    values = constant_values(attrs, weight, axis, tail)
    is_constant = np.array([value is not None for value in values])
    bias, multiplier, shift = (array.copy() for array in tail)
    if not np.any(is_constant & (multiplier != MULTIPLIER)):
        return call
    right = _common_shift(shift, is_constant)
    known = np.array([value or 0 for value in values], np.int64) - attrs.output_zero_point
    folded = np.moveaxis(weight.copy(), axis, 0)
    folded[is_constant] = 0
    bias[is_constant] = known[is_constant] << (right + 1)
    multiplier[is_constant], shift[is_constant] = MULTIPLIER, -right
    arrays = (np.moveaxis(folded, 0, axis), bias, multiplier, shift)
    operator = OPERATORS[call.op.name]
    return operator(attrs, call.args[0], *[constant(array) for array in arrays])


def _common_shift(shift: Array, is_constant: Array) -> int:
    """The right shift that most other channels have, so that kernels may still share one."""
    rights = [s for s in (-shift[~is_constant]).tolist() if 0 <= s <= MAX_SHIFT]
    return max(set(rights), key=rights.count) if rights else 1


DATA, CONSTANTS = wildcard(), [wildcard() for _ in range(4)]
RULES = [(is_op(name)(DATA, *CONSTANTS), _fold) for name in CHANNEL_AXIS]


class FoldConstantChannels(GraphPass):
    """Apply the rules above."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, RULES)
