"""The part of a training graph that no state has a say in, as a module of its own.

Its weights stay what they are, so everything that follows from their values holds for it.
"""

from __future__ import annotations

import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results


def frozen_part(module: tvm.IRModule) -> tvm.IRModule | None:
    """What `main` computes from its inputs alone, as a tuple of all that others read of it.

    None where that is nothing. States, and what the loss compares with, are the last parameters.
    """
    function = module["main"]
    border = _border(function)
    if not border:
        return None

    def body(builder: relax.BlockBuilder) -> list[ir.Expr]:
        values: Values = {}
        for var, value in bindings(function):
            if var in _frozen(function):
                values[var] = builder.emit(moved(value, values), var.name)
        return [values[var] for var in border]

    return build(_inputs(function), body, {})


def with_frozen_part(module: tvm.IRModule, part: tvm.IRModule) -> tvm.IRModule:
    """The module with another form of its frozen part, which gives the same."""
    function, other = module["main"], part["main"]
    frozen, border = _frozen(function), _border(function)

    def body(builder: relax.BlockBuilder) -> list[ir.Expr]:
        values: Values = dict(zip(other.params, _inputs(function), strict=True))
        for var, value in bindings(other):
            values[var] = builder.emit(moved(value, values), var.name)
        for var, result in zip(border, results(other), strict=True):
            values[var] = values.get(result, result)
        for var, value in bindings(function):
            if var not in frozen:
                values[var] = builder.emit(moved(value, values), var.name)
        return [values.get(result, result) for result in results(function)]

    return build(function.params, body, dict(function.attrs))


def _inputs(function: relax.Function) -> list[ir.Var]:
    """The model's own inputs: not the states, the target and the rate."""
    others = 2 + len(function.attrs["tiny.states"])
    return list(function.params)[:-others]


def _frozen(function: relax.Function) -> set[ir.Var]:
    known = set(_inputs(function))
    frozen: set[ir.Var] = set()
    for var, value in bindings(function):
        read = {a for a in value.args if isinstance(a, ir.Var)}
        if read <= known | frozen:
            frozen.add(var)
    return frozen


def _border(function: relax.Function) -> list[ir.Var]:
    """Frozen values that others read, in order."""
    frozen = _frozen(function)
    read = {
        argument
        for var, value in bindings(function)
        if var not in frozen
        for argument in value.args
        if isinstance(argument, ir.Var)
    }
    read |= {result for result in results(function) if isinstance(result, ir.Var)}
    return [var for var, _ in bindings(function) if var in frozen and var in read]
