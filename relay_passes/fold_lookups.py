"""FoldLookups: tables compose, identities vanish, clamps move into the operator before them.

lookup(g, lookup(f, x)) is lookup(g o f, x). A table that only clamps becomes the clamp of the
convolution, dense layer, addition, product or pooling that made its input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import ir
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass, apply_rules
from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of
from tvm_tiny.schedules.lookup import DOMAIN, LOOKUP, LookupAttributes

CLAMPING = {  # operators with a clamp, and how many arguments they take
    "tiny.qconv2d": 5,
    "tiny.qdepthwise_conv2d": 5,
    "tiny.qdense": 5,
    "tiny.qadd": 2,
    "tiny.qmul": 2,
    "tiny.qavg_pool2d": 1,
    "tiny.qmax_pool2d": 1,
}


def _table(call: ir.Call) -> Array:
    return call.args[1].value.numpy().astype(np.int64)


def _compose(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    inner = match[INNER]
    composed = _table(call)[_table(inner) + 128].astype(np.int8)
    functions = [attributes_of(step).function for step in (inner, call)]
    name = "_".join(functions)
    name = name if len(name) <= 40 else "composed"
    attrs = LookupAttributes(name, layer=attributes_of(call).layer)
    return LOOKUP(attrs, match[DATA], constant(composed))


def _drop_identity(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    return match[DATA] if np.array_equal(_table(call), DOMAIN) else call


def _into_producer(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    table, producer = _table(call), _producer(match)
    low, high = int(table[0]), int(table[-1])
    if not np.array_equal(table, np.clip(DOMAIN, low, high)):
        return call
    attrs = attributes_of(producer)
    # The second clamp applies to the first one's ends, which may lie wholly outside it.
    ends = (min(max(end, low), high) for end in (attrs.clamp_min, attrs.clamp_max))
    clamp_min, clamp_max = ends
    layer = attributes_of(call).layer
    clamped = replace(attrs, clamp_min=clamp_min, clamp_max=clamp_max, layer=layer)
    return OPERATORS[producer.op.name](clamped, *producer.args)


def _producer(match: dict[Any, ir.Expr]) -> ir.Call:
    return next(match[pattern] for pattern in PRODUCERS if pattern in match)


DATA, TABLE = wildcard(), wildcard()
INNER = is_op("tiny.lookup")(DATA, wildcard())
PRODUCERS = [
    is_op(name)(*[wildcard() for _ in range(arguments)]) for name, arguments in CLAMPING.items()
]
RULES = [
    (is_op("tiny.lookup")(INNER, TABLE), _compose),
    (is_op("tiny.lookup")(DATA, TABLE), _drop_identity),
    *[(is_op("tiny.lookup")(producer, TABLE), _into_producer) for producer in PRODUCERS],
]


class FoldLookups(GraphPass):
    """Apply the rules above."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, RULES)
