"""Run an imported module on the host, and look into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

Array = np.ndarray[Any, Any]


def run(module: tvm.IRModule, *inputs: Array) -> list[Array]:
    """Return the outputs of `main`, computed in float from the QDQ form."""
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    result = machine["main"](*map(tvm.runtime.tensor, inputs))
    parts = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
    return [part.numpy() for part in parts]


def bindings(module: tvm.IRModule) -> list[Any]:
    """Return the bindings of `main`, which has one dataflow block."""
    (block,) = module["main"].body.blocks
    assert isinstance(block, relax.DataflowBlock)
    return list(block.bindings)


def operators(module: tvm.IRModule) -> list[str]:
    """Return the operators of `main` in order, without the prefix `relax.`."""
    return [b.value.op.name.removeprefix("relax.") for b in bindings(module) if is_call(b.value)]


def is_call(value: object) -> bool:
    """Tell a call of an operator from a tuple item."""
    return isinstance(value, ir.Call)


def only(module: tvm.IRModule, name: str) -> Any:
    """Return the one call of an operator."""
    calls = [b.value for b in bindings(module) if is_call(b.value)]
    (call,) = [call for call in calls if call.op.name == f"relax.{name}"]
    return call


def source(module: tvm.IRModule, call: Any, position: int) -> Any:
    """Return what defines an argument of a call."""
    defined = {b.var: b.value for b in bindings(module)}
    return defined.get(call.args[position], call.args[position])


def contract_holds(module: tvm.IRModule) -> None:
    """Assert what the architecture's contract says of every imported module."""
    relax.analysis.well_formed(module)
    assert set(operators(module))
    for binding in bindings(module):
        if not is_call(binding.value) or "quantize" not in binding.value.op.name:
            continue
        _, scale, zero_point = binding.value.args
        assert isinstance(scale, ir.GenericConst) and isinstance(zero_point, ir.GenericConst)
        assert (scale.ty.dtype, zero_point.ty.dtype) == ("float32", "int32")
