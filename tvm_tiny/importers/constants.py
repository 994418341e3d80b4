"""Folding: layout changes and arithmetic of constants are done at import.

`reshape(dequantize(constant, axis))` becomes `dequantize(reshaped constant, new axis)`, so that
weights and biases have one form whatever the source. Values are moved, never rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import ir, relax

Array = np.ndarray[Any, Any]
Definitions = Mapping[relax.Var, ir.Expr]


def constant(values: Array) -> ir.GenericConst:
    """Return a tensor constant of the array's own dtype."""
    return relax.const(np.ascontiguousarray(values).reshape(values.shape), str(values.dtype))


def constant_value(expression: ir.Expr) -> Array:
    """Return the numpy array of a tensor constant."""
    values: Array = expression.value.numpy()
    return values


def is_call(expression: object, name: str) -> bool:
    """Tell whether an expression calls the Relax operator of that name."""
    return (
        isinstance(expression, ir.Call)
        and isinstance(expression.op, ir.Op)
        and expression.op.name == name
    )


def fold(call: ir.Expr, definitions: Definitions) -> ir.Expr:
    """Return a simpler equal expression, or the call itself.

    `definitions` finds the dequantize that defines a variable.
    """
    if not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op):
        return call
    name = call.op.name
    if name in ARITHMETIC and all(isinstance(part, ir.GenericConst) for part in call.args):
        return constant(ARITHMETIC[name](*map(constant_value, call.args)))
    if name == "relax.astype" and isinstance(call.args[0], ir.GenericConst):
        return constant(constant_value(call.args[0]).astype(str(call.attrs.dtype)))
    if name in ("relax.quantize", "relax.dequantize"):
        return _plain_parameters(call)
    if name == "relax.clip":
        return _plain_bounds(call)
    if name not in LAYOUT_CHANGES:
        return call
    return _fold_layout(call, definitions.get(call.args[0], call.args[0]))


def _plain_bounds(call: ir.Call) -> ir.Expr:
    """Write clip bounds in one way: integers for integers, else floats."""
    kind = int if "int" in str(call.args[0].ty.dtype) else float
    return relax.op.clip(call.args[0], *(kind(bound.value) for bound in call.args[1:]))


def _plain_parameters(call: ir.Call) -> ir.Expr:
    """Write scale and zero point in one way: scalars where one number says it, int32 zeros."""
    data, *parameters = call.args
    if not all(isinstance(parameter, ir.GenericConst) for parameter in parameters):
        raise NotImplementedError("scales or zero points that are not constants")
    scale, zero_point = map(constant_value, parameters)
    zero_point = zero_point.astype(np.int32)
    if (zero_point == zero_point.flat[0]).all():
        zero_point = zero_point.reshape(-1)[0]
    axis = int(call.attrs.axis) % max(1, data.ty.ndim)
    if scale.size == 1:
        scale, axis = scale.reshape(-1)[0], 0
    arguments = (data, constant(np.asarray(scale)), constant(np.asarray(zero_point)))
    if call.op.name == "relax.quantize":
        return relax.op.quantize(*arguments, axis=axis, out_dtype=str(call.attrs.out_dtype))
    return relax.op.dequantize(*arguments, axis=axis)


def _fold_layout(call: ir.Call, source: ir.Expr) -> ir.Expr:
    change, move_axis = LAYOUT_CHANGES[call.op.name]
    if isinstance(source, ir.GenericConst):
        return constant(change(call, constant_value(source)))
    if not is_call(source, "relax.dequantize") or not isinstance(source.args[0], ir.GenericConst):
        return call
    values, scale, zero_point = source.args
    old = constant_value(values)
    new = change(call, old)
    axis = 0
    if scale.ty.ndim > 0:
        axis = move_axis(call, old.shape, new.shape, int(source.attrs.axis) % max(1, old.ndim))
    if axis < 0:
        return call
    return relax.op.dequantize(constant(new), scale, zero_point, axis=axis)


def _permute(call: ir.Call, values: Array) -> Array:
    axes = call.attrs.axes
    return values.transpose(None if axes is None else [int(axis) for axis in axes])


def _reshape(call: ir.Call, values: Array) -> Array:
    """Reshape, squeeze and expand_dims: the result's type tells the shape."""
    shape = relax.BlockBuilder().normalize(call).ty.shape
    return values.reshape([int(extent) for extent in shape])


def _permuted_axis(call: ir.Call, old: Sequence[int], new: Sequence[int], axis: int) -> int:
    axes = call.attrs.axes
    order = range(len(old))[::-1] if axes is None else [int(moved) for moved in axes]
    return list(order).index(axis)


def _reshaped_axis(call: ir.Call, old: Sequence[int], new: Sequence[int], axis: int) -> int:
    """Find the axis that still walks over the same elements; -1 if a reshape split it."""
    before = math.prod(old[:axis])
    same = (i for i in range(len(new)) if math.prod(new[:i]) == before and new[i] == old[axis])
    return next(same, -1)


LayoutChange = tuple[
    Callable[[ir.Call, Array], Array],
    Callable[[ir.Call, Sequence[int], Sequence[int], int], int],
]
LAYOUT_CHANGES: dict[str, LayoutChange] = {
    "relax.permute_dims": (_permute, _permuted_axis),
    "relax.reshape": (_reshape, _reshaped_axis),
    "relax.squeeze": (_reshape, _reshaped_axis),
    "relax.expand_dims": (_reshape, _reshaped_axis),
}
ARITHMETIC: dict[str, Callable[..., Array]] = {
    "relax.add": np.add,
    "relax.subtract": np.subtract,
    "relax.multiply": np.multiply,
    "relax.divide": np.divide,
    "relax.sqrt": np.sqrt,
    "relax.rsqrt": lambda values: (1 / np.sqrt(values)).astype(values.dtype),
}
