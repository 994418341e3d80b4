"""The most bytes of tensors that are live at once in a module, run as it stands."""

from __future__ import annotations

import tvm
from tvm import ir

from tvm_tiny.relay_passes._straight_line import bindings, results
from tvm_tiny.relay_passes.program import aligned
from tvm_tiny.schedules.dialect import operator_of, spec_of


def live_bytes(module: tvm.IRModule) -> int:
    """Every tensor in memory of its own from where it is made to its last reader; no scratch.

    States do not count, nor what becomes of them.
    """
    function = module["main"]
    count = len((function.attrs or {}).get("tiny.states", ()))
    parameters, outputs = list(function.params), results(function)
    inputs = parameters[: len(parameters) - count]
    kept, updated = outputs[: len(outputs) - count], set(outputs[len(outputs) - count :])
    storage: dict[ir.Var, ir.Var] = {var: var for var in inputs}
    first, last = dict.fromkeys(inputs, 0), dict.fromkeys(inputs, 0)
    everything = list(bindings(function))
    for step, (var, value) in enumerate(everything):
        read = [storage[a] for a in value.args if a in storage]
        last |= dict.fromkeys(read, step)
        if operator_of(value) is None:
            storage[var] = read[0]
        elif var not in updated:
            storage[var], first[var], last[var] = var, step, step
    last |= {storage[var]: len(everything) for var in kept}
    sizes = {var: aligned(spec_of(var).nbytes) for var in first}
    return max(
        sum(size for var, size in sizes.items() if first[var] <= step <= last[var])
        for step in range(len(everything) + 1)
    )
