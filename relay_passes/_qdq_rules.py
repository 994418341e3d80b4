"""Rules of QuantizedToTiny: which integer operator computes a float operator between Q and DQ.

QUANTIZED maps the float operator under a `quantize` to a function (walk, island) -> expression.
Convolutions, pools and operators that only move values have their rules in files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from tvm_tiny.relay_passes import _float_tables as float_tables
from tvm_tiny.relay_passes._islands import (
    Island,
    clamp_output,
    fixed_point,
    lookup,
    rescale,
)
from tvm_tiny.relay_passes._linear_rules import (
    LINEAR,
)
from tvm_tiny.relay_passes._move_rules import MOVES
from tvm_tiny.relay_passes._pooling_rules import POOLING
from tvm_tiny.relay_passes._quantized import Quantized
from tvm_tiny.relay_passes._tflite_activations import activation as tflite_activation
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]
STRUCTURAL = ("relax.reshape",)  # operators of Relax that stay as they are


def quantize(walk: Walk, data: ir.Expr, output: Quantized) -> ir.Expr | None:
    """The integers of `data` under the output's parameters, or None if no rule applies."""
    known = walk.quantized_of(data)
    if known is not None:
        return rescale(walk, known, output)
    if walk.value_of(data) is data and output.scale.size == 1:  # a float input of the model
        attrs = QuantizeAttributes(output.scalar_scale, output.zero_point)
        return QUANTIZE(attrs, data)
    island = _island(walk, data, output)
    rule = QUANTIZED.get(island.core.op.name) if island is not None else None
    new = rule(walk, island) if rule is not None and island is not None else None
    new = new if new is not None else _table(walk, data, output)
    if new is None and rule is not None and island is not None:
        borrowed = [walk.borrow(argument) for argument in island.core.args]
        new = rule(walk, island) if any(borrowed) else None
    return new


def _island(walk: Walk, data: ir.Expr, output: Quantized) -> Island | None:
    low, high, value = -np.inf, np.inf, walk.value_of(data)
    while isinstance(value, ir.Call) and value.op.name in ACTIVATIONS:
        bounds = ACTIVATIONS[value.op.name](value)
        low, high = max(low, bounds[0]), min(high, bounds[1])
        value = walk.value_of(value.args[0])
    if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op):
        return None
    bias = None
    if value.op.name == "relax.add":
        inner = [walk.value_of(argument) for argument in value.args]
        for core, other in ((inner[0], value.args[1]), (inner[1], value.args[0])):
            if getattr(getattr(core, "op", None), "name", "") in WITH_BIAS:
                value, bias = core, other
                break
    return Island(value, bias, low, high, output)


ACTIVATIONS: dict[str, Callable[[ir.Call], tuple[float, float]]] = {
    "relax.nn.relu": lambda call: (0.0, np.inf),
    "relax.nn.relu6": lambda call: (0.0, 6.0),
    "relax.clip": lambda call: (float(call.args[1].value), float(call.args[2].value)),
}
WITH_BIAS = ("relax.nn.conv2d", "relax.matmul")


def _table(walk: Walk, data: ir.Expr, output: Quantized) -> ir.Expr | None:
    """Any element-wise function of one quantised tensor, as a table."""
    if walk.source == "tflite":  # computed in fixed point, which a float table misses
        known_table = tflite_activation(walk, walk.value_of(data), output)
        return None if known_table is None else lookup(*known_table)
    found = _element_wise(walk, data)
    if found is None:
        return None
    known, values = found
    integers = np.round(values / output.scalar_scale) + output.zero_point
    name = walk.value_of(data).op.name.rpartition(".")[2]
    return lookup(name, known.expr, numerics.clamp_int8(integers))


def _element_wise(walk: Walk, data: ir.Expr) -> tuple[Quantized, Array] | None:
    """The quantised tensor that a float depends on element by element, and its 256 values."""
    found = float_tables.leaves(data, walk.bindings, lambda v: walk.quantized_of(v) is not None)
    if len(found) != 1:
        return None
    (leaf,) = found
    known = walk.quantized_of(leaf)
    if known is None or known.is_constant or known.scale.size != 1:
        return None
    domain = known.scalar_scale * (DOMAIN - known.zero_point).astype(np.float64)
    values = float_tables.evaluate(data, walk.bindings, leaf, domain)
    return None if values is None else (known, np.nan_to_num(values))


def own_parameters(walk: Walk, data: ir.Expr) -> Quantized | None:
    """Scale and zero point that just hold all values of an element-wise function."""
    found = _element_wise(walk, data)
    if found is None:
        return None
    low, high = min(found[1].min(), 0.0), max(found[1].max(), 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    zero_point = round(numerics.INT8_MIN - low / float(scale))
    return Quantized(data, np.array([scale], np.float32), zero_point)


def _binary(make: Callable[..., Any], operator: Any, name: str) -> Callable[..., ir.Expr | None]:
    def rule(walk: Walk, island: Island) -> ir.Expr | None:
        operands = [walk.quantized_of(argument) for argument in island.core.args]
        a, b = operands
        if a is None or b is None or a.scale.size != 1 or b.scale.size != 1:
            return None
        if a.is_constant and b.is_constant:
            return None
        scales = (a.scalar_scale, b.scalar_scale, island.output.scalar_scale)
        attrs = make(scales, (a.zero_point, b.zero_point, island.output.zero_point))
        low, high = island.clamp
        changes = {"clamp_min": low, "clamp_max": high}
        if operator is qmul.QMUL:
            scaling = fixed_point(walk, scales[0] * scales[1] / scales[2])
            changes |= zip(("multiplier", "shift"), map(int, scaling), strict=True)
        attrs = type(attrs)(**{**attrs.as_dict(), **changes})
        table = _scalar_table(operator, attrs, name, a, b)
        return operator(attrs, a.expr, b.expr) if table is None else table

    return rule


def _scalar_table(
    operator: Any, attrs: Any, name: str, a: Quantized, b: Quantized
) -> ir.Expr | None:
    """With one constant number as operand the result depends on one int8 only: a table."""
    for other, values in ((b, (DOMAIN, None)), (a, (None, DOMAIN))):
        if other.is_constant and other.integers.size == 1:
            number = other.integers.reshape(-1).astype(np.int64)
            arguments = [number if value is None else value for value in values]
            data = a if other is b else b
            return lookup(f"{name}_scalar", data.expr, operator.meaning(attrs, *arguments))
    return None


QUANTIZED: dict[str, Callable[[Walk, Island], ir.Expr | None]] = {
    "relax.add": _binary(qadd.attributes, qadd.QADD, "add"),
    "relax.subtract": _binary(lambda s, z: qadd.attributes(s, z, sign=-1), qadd.QADD, "sub"),
    "relax.multiply": _binary(qmul.attributes, qmul.QMUL, "mul"),
    **LINEAR,
    **POOLING,
}


def _quantized_first(name: str) -> Callable[[Walk, Island], ir.Expr | None]:
    """Of a float that is not known as integers: moving values and rounding them commute."""

    def rule(walk: Walk, island: Island) -> ir.Expr | None:
        argument, own_name = island.core.args[0], walk.name
        walk.name = getattr(argument, "name", own_name)
        moved = quantize(walk, argument, island.output)
        moved = moved if moved is None or isinstance(moved, ir.Var) else walk.emit(moved)
        walk.name = own_name
        call = None if moved is None else MOVES[name](walk, island.core, moved)
        return None if call is None else clamp_output(walk, call, island)

    return rule


QUANTIZED |= {name: _quantized_first(name) for name in MOVES}
