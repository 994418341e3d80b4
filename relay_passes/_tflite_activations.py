"""Stand-alone activations of TensorFlow Lite models, exactly as TensorFlow Lite Micro rounds them.

RULES maps the float operator under a `quantize` to the table it stands for, or to None where the
operator's own arguments are not the ones that the reference knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from tvm_tiny.relay_passes._quantized import Quantized
from tvm_tiny.schedules import activations
from tvm_tiny.schedules.activations import Scaling

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]


def activation(walk: Walk, call: ir.Expr, output: Quantized) -> tuple[str, ir.Expr, Array] | None:
    """(function's name, its int8 argument, its table), or None where no rule applies."""
    rule = RULES.get(getattr(getattr(call, "op", None), "name", ""))
    found = rule(walk, call) if rule is not None else None
    if found is None:
        return None
    name, argument, table = found
    data = walk.quantized_of(argument)
    if data is None or data.is_constant or data.scale.size != 1:
        return None
    points = data.zero_point, output.zero_point
    scaling = Scaling(data.scalar_scale, points[0], output.scalar_scale, points[1])
    return name, data.expr, table(scaling)


Found = tuple[str, ir.Expr, Callable[[Scaling], Array]]


def _of_argument(name: str, table: Callable[[Scaling], Array]) -> Callable[..., Found | None]:
    return lambda walk, call: (name, call.args[0], table)


def _leaky_relu(walk: Walk, call: ir.Call) -> Found:
    alpha = float(call.attrs.alpha)
    return "leaky_relu", call.args[0], lambda scaling: activations.leaky_relu(scaling, alpha)


def _relu6(walk: Walk, call: ir.Call) -> Found | None:
    is_relu6 = _numbers(call.args[1:]) == (0.0, 6.0)
    return ("relu6", call.args[0], activations.relu6) if is_relu6 else None


def _hard_swish(walk: Walk, call: ir.Call) -> Found | None:
    """x * clip(x + 3, 0, 6) / 6."""
    product = _operands(walk, call.args[0], "relax.multiply")
    gate = _operands(walk, product[1], "relax.clip") if product else None
    raised = _operands(walk, gate[0], "relax.add") if gate else None
    if product is None or gate is None or raised is None:
        return None
    numbers = _numbers([call.args[1], *gate[1:], raised[1]])
    is_swish = raised[0].same_as(product[0]) and numbers == (6.0, 0.0, 6.0, 3.0)
    return ("hard_swish", product[0], activations.hard_swish) if is_swish else None


def _operands(walk: Walk, expr: ir.Expr, name: str) -> list[Any] | None:
    value = walk.value_of(expr)
    is_call = getattr(getattr(value, "op", None), "name", "") == name
    return list(value.args) if is_call else None


def _numbers(exprs: list[Any]) -> tuple[float, ...] | None:
    values = [expr.value for expr in exprs if hasattr(expr, "value")]
    if len(values) != len(exprs):
        return None
    return tuple(float(v.numpy()) if hasattr(v, "numpy") else float(v) for v in values)


RULES: dict[str, Callable[[Walk, ir.Call], Found | None]] = {
    "relax.sigmoid": _of_argument("logistic", activations.logistic),
    "relax.tanh": _of_argument("tanh", activations.tanh),
    "relax.nn.relu": _of_argument("relu", activations.relu),
    "relax.nn.relu6": _of_argument("relu6", activations.relu6),
    "relax.clip": _relu6,
    "relax.nn.leakyrelu": _leaky_relu,
    "relax.divide": _hard_swish,
}
