"""FoldPads: a border of the input's zero point becomes the padding of the convolution behind it.

Padding a convolution costs no copy and no buffer; a pad operator costs both. Exact: a tap on the
border multiplies (zero_point - zero_point) = 0 either way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tvm
from tvm import ir
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._rewrite import GraphPass, apply_rules
from tvm_tiny.schedules.dialect import OPERATORS, attributes_of


def _into_convolution(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    attrs, border = attributes_of(call), attributes_of(match[PAD])
    is_spatial = border.before[0] == border.before[3] == border.after[0] == border.after[3] == 0
    if not is_spatial or border.value != attrs.input_zero_point:
        return call
    added = (*border.before[1:3], *border.after[1:3])
    padding = tuple(p + q for p, q in zip(attrs.padding, added, strict=True))
    operator = OPERATORS[call.op.name]
    return operator(replace(attrs, padding=padding), match[DATA], *call.args[1:])


def _drop_empty(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    border = attributes_of(call)
    return call if any(border.before) or any(border.after) else match[DATA]


DATA = wildcard()
PAD = is_op("tiny.pad")(DATA)
CONSTANTS = [wildcard() for _ in range(4)]
RULES = [
    (PAD, _drop_empty),
    (is_op("tiny.qconv2d")(PAD, *CONSTANTS), _into_convolution),
    (is_op("tiny.qdepthwise_conv2d")(PAD, *CONSTANTS), _into_convolution),
]


class FoldPads(GraphPass):
    """Apply the rules above."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, RULES)
