"""OrderUpdates: masks are taken at once, updates made as early as they can be.

A mask frees the 16-bit tensor that it is of. An update frees its gradient; it comes behind all that
read the state's old value. Everything else keeps its order.
"""

from __future__ import annotations

from collections.abc import Iterator

import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results

MASK = "tiny.in_range"


class OrderUpdates(GraphPass):
    """Apply to a module that returns new values of its states."""

    def __init__(self, masks: bool = True, updates: bool = True) -> None:
        """What is moved."""
        self.masks, self.updates = masks, updates

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]

        def body(builder: relax.BlockBuilder) -> list[ir.Expr]:
            values: Values = {}
            for var, value in self._ordered(function):
                values[var] = builder.emit(moved(value, values), var.name)
            return [values.get(result, result) for result in results(function)]

        return build(function.params, body, dict(function.attrs))

    def _ordered(self, function: relax.Function) -> Iterator[tuple[ir.Var, ir.Expr]]:
        states = {str(name) for name in function.attrs["tiny.states"]}
        parameters = {p for p in function.params if p.name in states}
        updated = results(function)[-len(states) :]
        everything = list(bindings(function))
        place = {var: number for number, (var, _) in enumerate(everything)}
        keys = {var: (float(number), 0) for var, number in place.items()}
        for var, value in everything:
            name = value.op.name if isinstance(value, ir.Call) else ""
            if name == MASK and self.masks:
                keys[var] = (place[value.args[0]] + 0.5, 0)
            elif var in updated and self.updates:
                before = [place[a] for a in value.args if a in place]
                readers = _readers(everything, parameters.intersection(value.args), var)
                before += [place[reader] for reader in readers]
                # what nothing comes before, as a count of steps, is not to become part of an
                # inference
                keys[var] = (max(before, default=place[var]) + 0.5, place[var])
        yield from sorted(everything, key=lambda binding: keys[binding[0]])


def _readers(
    everything: list[tuple[ir.Var, ir.Expr]], states: set[ir.Var], update: ir.Var
) -> Iterator[ir.Var]:
    for var, value in everything:
        if var is not update and isinstance(value, ir.Call) and states.intersection(value.args):
            yield var
