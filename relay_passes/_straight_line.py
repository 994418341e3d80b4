"""Functions as straight lines of bindings: walked in order, and built anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tvm
from tvm import ir, relax

Values = dict[ir.Var, ir.Expr]  # of an old function's variables in a new one


def bindings(function: relax.Function) -> Iterator[tuple[ir.Var, ir.Expr]]:
    """Variables and values of all bindings but tuples, in order."""
    for block in function.body.blocks:
        for binding in block.bindings:
            if not isinstance(binding.value, relax.Tuple):
                yield binding.var, binding.value


def tuples(function: relax.Function) -> dict[ir.Var, relax.Tuple]:
    """The tuples among bound values."""
    return {
        binding.var: binding.value
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Tuple)
    }


def results(function: relax.Function) -> list[ir.Expr]:
    """What a function returns, nested tuples as one list."""
    bound = tuples(function)

    def flat(expr: ir.Expr) -> Iterator[ir.Expr]:
        expr = bound.get(expr, expr) if isinstance(expr, ir.Var) else expr
        if isinstance(expr, relax.Tuple):
            for field in expr.fields:
                yield from flat(field)
        else:
            yield expr

    return list(flat(function.body.body))


def moved(value: ir.Expr, values: Mapping[ir.Var, ir.Expr]) -> ir.Expr:
    """A bound value with its variables replaced, its type to be found anew."""
    if isinstance(value, ir.Var):
        return values.get(value, value)
    if not isinstance(value, ir.Call):
        return value
    arguments = [values.get(a, a) if isinstance(a, ir.Var) else a for a in value.args]
    return ir.Call(value.op, arguments, attrs=value.attrs, ty_args=value.ty_args)


def build(
    parameters: Sequence[ir.Var],
    body: Callable[[relax.BlockBuilder], Sequence[ir.Expr]],
    attributes: Mapping[str, Any],
) -> tvm.IRModule:
    """A module of one function, which returns a tuple of what `body` gives when it has emitted."""
    builder = relax.BlockBuilder()
    with builder.function("main", list(parameters)):
        with builder.dataflow():
            output = builder.emit_output(relax.Tuple(list(body(builder))))
        builder.emit_func_output(output)
    function = builder.finalize()["main"].with_attrs(dict(attributes))
    return tvm.IRModule({"main": function})
