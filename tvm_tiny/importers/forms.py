"""Relax forms of composite operators, the same from every source."""

from __future__ import annotations

from tvm import relax


def hard_swish(value: relax.Expr) -> relax.Expr:
    """Return `value * clip(value + 3, 0, 6) / 6`."""
    gate = relax.op.clip(relax.op.add(value, relax.const(3.0, "float32")), 0, 6)
    return relax.op.divide(relax.op.multiply(value, gate), relax.const(6.0, "float32"))
