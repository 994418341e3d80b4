"""Other weights and biases in a module of the dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from torch import Tensor
from tvm import ir
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_tiny.errors import InputError
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of
from tvm_tiny.torch.linear import LAYERS

Values = Mapping[str, tuple[Tensor, Tensor]]


def with_constants(module: tvm.IRModule, values: Values) -> tvm.IRModule:
    """Return the module with (weight, bias) of each layer named in `values`.

    Raises InputError where shapes differ, as after passes that drop channels.
    """
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            _check(binding.value, values)  # outside the mutator: errors do not cross C++
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    result["main"] = _Constants(values).visit_expr(module["main"])
    return result


def _layer(call: Any, values: Values) -> str | None:
    """The name of the layer that a call is, if there are values for it."""
    operator = operator_of(call)
    is_linear = operator is not None and operator.name in LAYERS
    layer = attributes_of(call).layer if is_linear else ""
    return layer if layer in values else None


def _check(call: Any, values: Values) -> None:
    layer = _layer(call, values)
    if layer is None:
        return
    for old, new in zip(call.args[1:3], values[layer], strict=True):
        before, after = old.value.numpy().shape, tuple(new.shape)
        if before != after:
            raise InputError("another shape", where=layer, limit=before, found=after)


@mutator
class _Constants(PyExprMutator):
    def __init__(self, values: Values) -> None:
        super().__init__()
        self.values = values

    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        layer = _layer(call, self.values)
        if layer is None:
            return call
        data, weight, bias, *rest = call.args
        pairs = zip((weight, bias), self.values[layer], strict=True)
        new = [_replaced(old, value) for old, value in pairs]
        return ir.Call(call.op, [data, *new, *rest], call.attrs, call.ty_args)


def _replaced(old: Any, value: Tensor) -> ir.Expr:
    before: Array = old.value.numpy()
    ends = np.iinfo(before.dtype)
    after = np.clip(np.round(value.detach().cpu().numpy()), ends.min, ends.max)
    return constant(after.astype(before.dtype))
