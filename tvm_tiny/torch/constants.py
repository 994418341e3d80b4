"""Other weights and biases in a module of the dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from torch import Tensor
from tvm import ir, relax
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
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    result["main"] = _Constants(values).visit_expr(module["main"])
    return result


@mutator
class _Constants(PyExprMutator):
    def __init__(self, values: Values) -> None:
        super().__init__()
        self.values = values

    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        operator = operator_of(call)
        if operator is None or operator.name not in LAYERS:
            return call
        layer = attributes_of(call).layer
        if layer not in self.values:
            return call
        weight, bias = self.values[layer]
        data, old_weight, old_bias, *rest = call.args
        new = [_replaced(layer, old_weight, weight), _replaced(layer, old_bias, bias)]
        return ir.Call(call.op, [data, *new, *rest], call.attrs, call.ty_args)


def _replaced(layer: str, old: relax.Constant, value: Tensor) -> ir.Expr:
    before: Array = old.value.numpy()
    after = value.detach().cpu().numpy()
    if before.shape != after.shape:
        raise InputError("another shape", where=layer, limit=before.shape, found=after.shape)
    ends = np.iinfo(before.dtype)
    return constant(np.clip(np.round(after), ends.min, ends.max).astype(before.dtype))
