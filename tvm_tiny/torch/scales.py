"""Scales of the activations of a model, which the integer dialect itself does not need."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_tiny.relay_passes._quantized import of_quantize
from tvm_tiny.schedules.dialect import attributes_of, operator_of

# Operators whose output has the scale and zero point of their first input.
TRANSPARENT = frozenset(
    ["tiny.qavg_pool2d", "tiny.qmax_pool2d", "tiny.pad", "tiny.concat", "tiny.resize"]
    + ["tiny.transpose", "relax.reshape"]
)


@dataclass(frozen=True)
class Quantisation:
    """real = scale * (q - zero_point)."""

    scale: float
    zero_point: int


def quantisations(
    imported: tvm.IRModule, rewritten: tvm.IRModule
) -> dict[relax.Var, Quantisation]:
    """What every int8 value of `rewritten` stands for.

    A layer is named after the `quantize` that ends it in the imported model, and has its scale.
    """
    given = {}
    for binding in _bindings(imported):
        if _name(binding.value) == "relax.quantize":
            found = of_quantize(binding.value)
            if found is not None:
                known = Quantisation(found.scalar_scale, found.zero_point)
                given[binding.var.name] = known
    values = _ports(rewritten)
    for binding in _bindings(rewritten):
        call = binding.value
        operator = operator_of(call)
        layer = attributes_of(call).layer if operator else ""
        if layer in given:
            values[binding.var] = given[layer]
        elif _name(call) in TRANSPARENT and call.args[0] in values:
            values[binding.var] = values[call.args[0]]
    return values


def _ports(rewritten: tvm.IRModule) -> dict[relax.Var, Quantisation]:
    main = rewritten["main"]
    scales, points = main.attrs["tiny.input_scales"], main.attrs["tiny.input_zero_points"]
    ports = zip(main.params, scales, points, strict=True)
    return {var: Quantisation(float(s), int(p)) for var, s, p in ports if float(s) > 0}


def _name(value: relax.Expr) -> str:
    return getattr(getattr(value, "op", None), "name", "")


def _bindings(module: tvm.IRModule) -> list[relax.VarBinding]:
    blocks = module["main"].body.blocks
    return [binding for block in blocks for binding in block.bindings]
