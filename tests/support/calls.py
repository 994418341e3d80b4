"""Calls of the `tiny` dialect, and modules made of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from tvm import IRModule, relax

from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.dialect import Attributes, Kernel, Operator, TensorSpec, spec_of

Array = np.ndarray[Any, Any]


def call_of(operator: Operator, attrs: Attributes, *arguments: TensorSpec | Array) -> Any:
    """Return a call; a TensorSpec is a variable, an array a constant."""
    return operator(attrs, *map(_argument, arguments))


def _argument(argument: TensorSpec | Array) -> Any:
    if isinstance(argument, TensorSpec):
        return relax.Var("x", relax.TensorType(list(argument.shape), argument.dtype))
    return relax.const(np.ascontiguousarray(argument))


def lower(call: Any, features: Collection[str] = ()) -> Kernel:
    """Return the first kernel that can do a call on a core with `features`, in operator's order."""
    seen = dialect.call_of(call).seen_by_kernels
    operator, attrs, arguments = seen.operator, seen.attributes, seen.arguments
    for variant in operator.variants:
        if variant.features.issubset(features):
            kernel = variant.kernel(attrs, *arguments)
            if kernel is not None:
                return kernel
    return operator.kernel(attrs, *arguments)


def side_by_side(
    calls: Sequence[Any], kept: Sequence[TensorSpec] = ()
) -> tuple[IRModule, list[list[TensorSpec]]]:
    """Return a module of all calls, each with inputs of its own, and the inputs' specs by call.

    Its last inputs are `kept`: outputs as well, behind the others.
    """
    builder = relax.BlockBuilder()
    parameters: list[list[Any]] = []
    for number, call in enumerate(calls):
        variables = [argument for argument in call.args if isinstance(argument, relax.Var)]
        parameters.append([relax.Var(f"x{number}_{i}", var.ty) for i, var in enumerate(variables)])
    passed = [
        relax.Var(f"kept{i}", relax.TensorType(list(spec.shape), spec.dtype))
        for i, spec in enumerate(kept)
    ]
    with builder.function("main", [*(var for row in parameters for var in row), *passed]):
        with builder.dataflow():
            outputs = [
                builder.emit(_with_inputs(call, row))
                for call, row in zip(calls, parameters, strict=True)
            ]
            result = builder.emit_output(relax.Tuple([*outputs, *passed]))
        builder.emit_func_output(result)
    return builder.get(), [[spec_of(var) for var in row] for row in parameters]


def _with_inputs(call: Any, inputs: list[Any]) -> Any:
    given = iter(inputs)
    arguments = [next(given) if isinstance(a, relax.Var) else a for a in call.args]
    return relax.Call(call.op, arguments, call.attrs)
