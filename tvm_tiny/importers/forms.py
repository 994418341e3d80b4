"""Relax forms of composite operators, the same from every source."""

from __future__ import annotations

from tvm import relax


def hard_swish(value: relax.Expr) -> relax.Expr:
    """Return `value * clip(value + 3, 0, 6) / 6`."""
    gate = relax.op.clip(relax.op.add(value, relax.const(3.0, "float32")), 0, 6)
    return relax.op.divide(relax.op.multiply(value, gate), relax.const(6.0, "float32"))


def batch_norm(
    value: relax.Expr,
    gamma: relax.Expr | None,
    beta: relax.Expr | None,
    mean: relax.Expr,
    variance: relax.Expr,
    *,
    epsilon: float,
) -> relax.Expr:
    """Return `value * factor + offset` per channel (dimension 1), at inference."""
    deviation = relax.op.sqrt(relax.op.add(variance, relax.const(epsilon, "float32")))
    gain = relax.const(1.0, "float32") if gamma is None else gamma
    factor = relax.op.divide(gain, deviation)
    shift = relax.const(0.0, "float32") if beta is None else beta
    offset = relax.op.subtract(shift, relax.op.multiply(mean, factor))
    shape = (1, value.ty.shape[1], *(1,) * (value.ty.ndim - 2))
    scaled = relax.op.multiply(value, relax.op.reshape(factor, shape))
    return relax.op.add(scaled, relax.op.reshape(offset, shape))


def clip(value: relax.Expr, low: float, high: float) -> relax.Expr:
    """Return a clip, or a relu where only the lower bound of 0 is given."""
    if low == 0 and high == float("inf"):
        return relax.op.nn.relu(value)
    return relax.op.clip(value, low, high)
