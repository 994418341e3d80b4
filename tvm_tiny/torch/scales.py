"""What integers of a model's ends stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, relax

from tvm_tiny.errors import ModelError
from tvm_tiny.schedules.dialect import attributes_of, operator_of

# Operators whose output has the scale and zero point of their first input.
TRANSPARENT = (
    "tiny.qavg_pool2d",
    "tiny.qmax_pool2d",
    "tiny.pad",
    "tiny.concat",
    "tiny.resize",
    "tiny.transpose",
    "relax.reshape",
)


@dataclass(frozen=True)
class Quantisation:
    """real = scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Head:
    """Where losses are taken: the integers before a final softmax or dequantisation."""

    logits: ir.Var
    quantisation: Quantisation | None


def head_of(module: tvm.IRModule) -> Head:
    """The head of a module of the dialect (of its first output)."""
    main = module["main"]
    calls: dict[ir.Var, Any] = {
        b.var: b.value for block in main.body.blocks for b in block.bindings
    }
    logits, known = main.body.body, _port(main)
    while True:
        value: Any = calls.get(logits)
        if isinstance(value, relax.Tuple):
            logits = value.fields[0]
            continue
        name = _name(value)
        if name not in ("tiny.qsoftmax", "tiny.dequantize"):
            return Head(logits, _quantisation(logits, calls) or known)
        attrs = attributes_of(value)
        logits, known = value.args[0], Quantisation(attrs.scale, getattr(attrs, "zero_point", 0))


def known_quantisation(head: Head) -> Quantisation:
    """Scale and zero point of the logits; raises ModelError where they are not known."""
    if head.quantisation is None:
        raise ModelError("the scale of the logits is not known", hint="give an imported model")
    return head.quantisation


def _port(main: relax.Function) -> Quantisation | None:
    scales, points = (
        (main.attrs or {}).get(f"tiny.output_{key}", [0]) for key in ("scales", "zero_points")
    )
    is_known = float(scales[0]) > 0
    return Quantisation(float(scales[0]), int(points[0])) if is_known else None


def _quantisation(var: ir.Var, calls: dict[ir.Var, Any]) -> Quantisation | None:
    """As the operator that made it says."""
    value: Any = calls.get(var)
    while _name(value) in TRANSPARENT:
        value = calls.get(value.args[0])
    attrs: Any = None if operator_of(value) is None else attributes_of(value)
    scale = getattr(attrs, "output_scale", 0.0)
    return Quantisation(scale, attrs.output_zero_point) if scale else None


def _name(value: Any) -> str:
    return getattr(getattr(value, "op", None), "name", "")
