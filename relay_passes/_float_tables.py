"""Evaluate element-wise float expressions of one quantised tensor for all its 256 values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf
from typing import Any

import numpy as np
from tvm import ir

Array = np.ndarray[Any, Any]

_erf = np.vectorize(erf, otypes=[np.float64])


def _number(expr: ir.Expr) -> float:
    return float(expr.value)


# Functions of the evaluated tensor arguments and the call.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relax.add": lambda call, a, b: a + b,
    "relax.subtract": lambda call, a, b: a - b,
    "relax.multiply": lambda call, a, b: a * b,
    "relax.divide": lambda call, a, b: a / b,
    "relax.maximum": lambda call, a, b: np.maximum(a, b),
    "relax.minimum": lambda call, a, b: np.minimum(a, b),
    "relax.power": lambda call, a, b: np.power(a, b),
    "relax.negative": lambda call, a: -a,
    "relax.abs": lambda call, a: np.abs(a),
    "relax.exp": lambda call, a: np.exp(a),
    "relax.log": lambda call, a: np.log(a),
    "relax.sqrt": lambda call, a: np.sqrt(a),
    "relax.rsqrt": lambda call, a: 1 / np.sqrt(a),
    "relax.square": lambda call, a: a * a,
    "relax.floor": lambda call, a: np.floor(a),
    "relax.ceil": lambda call, a: np.ceil(a),
    "relax.round": lambda call, a: np.round(a),
    "relax.erf": lambda call, a: _erf(a),
    "relax.sigmoid": lambda call, a: 1 / (1 + np.exp(-a)),
    "relax.tanh": lambda call, a: np.tanh(a),
    "relax.nn.relu": lambda call, a: np.maximum(a, 0),
    "relax.nn.relu6": lambda call, a: np.clip(a, 0, 6),
    "relax.nn.silu": lambda call, a: a / (1 + np.exp(-a)),
    "relax.nn.gelu": lambda call, a: np.asarray(a * 0.5 * (1 + _erf(a / np.sqrt(2.0)))),
    "relax.nn.leakyrelu": lambda call, a: np.where(a > 0, a, a * float(call.attrs.alpha)),
    "relax.nn.softplus": lambda call, a: np.log1p(np.exp(a)),
    "relax.clip": lambda call, a, *_: np.clip(a, _number(call.args[1]), _number(call.args[2])),
}


def leaves(expr: ir.Expr, bindings: Mapping[Any, ir.Expr], stop: Callable[[Any], bool]) -> set[Any]:
    """Variables an element-wise expression depends on; a foreign operator counts as a leaf."""
    if isinstance(expr, ir.GenericConst) or not isinstance(expr, (ir.Var, ir.Call)):
        return set()
    if isinstance(expr, ir.Var):
        if stop(expr) or expr not in bindings:
            return {expr}
        value = bindings[expr]
        if not isinstance(value, ir.Call) or getattr(value.op, "name", "") not in FUNCTIONS:
            return {expr}
        return leaves(value, bindings, stop)
    found: set[Any] = set()
    for argument in expr.args:
        found |= leaves(argument, bindings, stop)
    return found


def evaluate(
    expr: ir.Expr, bindings: Mapping[Any, ir.Expr], leaf: Any, domain: Array
) -> Array | None:
    """Value of the expression for every element of `domain`, or None where it is not a function
    of the leaf and scalars alone."""
    if expr is leaf or (isinstance(expr, ir.Var) and expr.same_as(leaf)):
        return domain
    if isinstance(expr, ir.GenericConst):
        constant = expr.value.numpy()
        return constant.astype(np.float64).reshape(()) if constant.size == 1 else None
    if isinstance(expr, ir.Var):
        return evaluate(bindings[expr], bindings, leaf, domain) if expr in bindings else None
    if not isinstance(expr, ir.Call):
        return None
    function = FUNCTIONS.get(getattr(expr.op, "name", ""))
    if function is None:
        return None
    tensors = [a for a in expr.args if isinstance(a, (ir.Var, ir.Call, ir.GenericConst))]
    values = [evaluate(argument, bindings, leaf, domain) for argument in tensors]
    if any(value is None for value in values):
        return None
    with np.errstate(all="ignore"):
        return function(expr, *values)
