"""Run a module of `tiny.*` operators on the host by the operators' meaning in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.schedules import dialect

Array = np.ndarray[Any, Any]


def evaluate(module: tvm.IRModule, *inputs: Array) -> list[Array]:
    """Return the outputs of `main`."""
    function = module["main"]
    values: dict[Any, Any] = dict(zip(function.params, inputs, strict=True))
    for binding in bindings(module):
        values[binding.var] = _value(binding.value, values)
    result = _value(function.body.body, values)
    return list(result) if isinstance(result, tuple) else [result]


def _value(expr: Any, values: dict[Any, Any]) -> Any:
    if isinstance(expr, ir.Var):
        return values[expr]
    if isinstance(expr, relax.Tuple):
        return tuple(_value(field, values) for field in expr.fields)
    if expr.op.name == "relax.reshape":
        return values[expr.args[0]].reshape([int(extent) for extent in expr.ty.shape])
    inputs = [values[argument] for argument in expr.args if isinstance(argument, ir.Var)]
    return dialect.run_meaning(expr, inputs)


def bindings(module: tvm.IRModule) -> list[Any]:
    """Return all bindings of `main`."""
    body = module["main"].body
    blocks = body.blocks if isinstance(body, relax.SeqExpr) else []
    return [binding for block in blocks for binding in block.bindings]


def calls(module: tvm.IRModule) -> list[Any]:
    """Return the calls of `tiny.*` operators in `main`, in order."""
    values = [binding.value for binding in bindings(module)]
    return [value for value in values if dialect.operator_of(value) is not None]


def operators(module: tvm.IRModule) -> list[str]:
    """Return the names of all operators of `main`, without the prefixes `tiny.` and `relax.`."""
    values = [binding.value for binding in bindings(module)]
    return [v.op.name.rpartition(".")[2] for v in values if isinstance(v, ir.Call)]


def rewrite(module: tvm.IRModule) -> tvm.IRModule:
    """Return an imported module in the integer dialect."""
    return QuantizedToTiny()(module)
