"""Float values that are known to be dequantised integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir, relax

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Quantized:
    """scale * (expr - zero_point), where `expr` is int8 (weights, activations) or int32 (biases).

    `scale` has one element, or one for each index along `axis`.
    """

    expr: ir.Expr
    scale: Array
    zero_point: int
    axis: int = 0

    @property
    def is_constant(self) -> bool:
        """Whether the integers are known at compile time."""
        return isinstance(self.expr, ir.GenericConst)

    @property
    def integers(self) -> Array:
        """The constant integers."""
        return self.expr.value.numpy()

    @property
    def scalar_scale(self) -> float:
        """The one scale of a per-tensor quantised value, as the exact float32 it was given as."""
        return float(self.scale.reshape(-1)[0])

    @property
    def values(self) -> Array:
        """The constant's real values, float32."""
        integers = self.integers.astype(np.float32) - np.float32(self.zero_point)
        if self.scale.size == 1:
            return integers * self.scale.astype(np.float32).reshape(())
        shape = [1] * integers.ndim
        shape[self.axis] = self.scale.size
        return integers * self.scale.astype(np.float32).reshape(shape)

    def has_parameters_of(self, other: Quantized) -> bool:
        """Same scale and zero point."""
        return self.zero_point == other.zero_point and np.array_equal(self.scale, other.scale)

    def with_expr(self, expr: ir.Expr, axis: int | None = None) -> Quantized:
        """The same parameters over other integers."""
        return Quantized(expr, self.scale, self.zero_point, self.axis if axis is None else axis)


def of_dequantize(call: ir.Call, data: ir.Expr) -> Quantized | None:
    """What `relax.dequantize(data, scale, zero_point)` stands for, if its parameters are known."""
    return _with_parameters(call, data)


def of_quantize(call: ir.Call) -> Quantized | None:
    """The parameters that `relax.quantize` gives its result (its expr is the call itself)."""
    return _with_parameters(call, call)


def _with_parameters(call: ir.Call, expr: ir.Expr) -> Quantized | None:
    scale, zero_point = call.args[1], call.args[2]
    if not (isinstance(scale, ir.GenericConst) and isinstance(zero_point, ir.GenericConst)):
        return None
    points = zero_point.value.numpy().reshape(-1)
    if points.size == 0 or np.any(points != points[0]):
        return None
    rank = len(call.args[0].ty.shape)
    axis = int(call.attrs.axis) % max(rank, 1)
    return Quantized(expr, scale.value.numpy().reshape(-1), int(points[0]), axis)


def constant(values: Array) -> ir.Expr:
    """A Relax constant of an array."""
    return relax.const(np.ascontiguousarray(values))
