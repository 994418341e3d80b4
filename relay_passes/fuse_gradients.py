"""FuseGradients: a mask, a scale, a gradient and its update become one kernel where one exists.

A weight gradient that is applied in the loop that computes it never exists as a tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._rewrite import GraphPass, apply_rules
from tvm_tiny.schedules.dialect import attributes_of, spec_of
from tvm_tiny.schedules.training.gradients import operator

FACTORS = wildcard(), wildcard()
DATA, MASK, GRADIENT, PARAMETER, RATE, SCALE = (wildcard() for _ in range(6))
SCALED = is_op("tiny.scale_gradient")(GRADIENT, FACTORS[0])
MASKED = is_op("tiny.mask_gradient")(GRADIENT, MASK)
OF_CONVOLUTION = is_op("tiny.conv2d_weight_gradient")(DATA, GRADIENT)
OF_DEPTHWISE = is_op("tiny.depthwise_weight_gradient")(DATA, GRADIENT)
OF_BIAS = is_op("tiny.bias_gradient")(GRADIENT)


def _scale_once(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    first, second = (match[factor].value.numpy() for factor in FACTORS)
    both = relax.const((first.astype(np.float64) * second).astype(np.float32))
    layer = attributes_of(call).layer
    return operator("scale_gradient", match[GRADIENT], both, layer=layer)


def _mask_and_scale(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    layer = attributes_of(call).layer
    return operator("masked_scale", match[GRADIENT], match[MASK], match[SCALE], layer=layer)


def _scale_behind_mask(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    first, second = match[FACTORS[0]].value.numpy(), match[SCALE].value.numpy()
    if first.size != 1:
        return call
    both = relax.const((first.astype(np.float64) * second).astype(np.float32))
    layer = attributes_of(call).layer
    return operator("masked_scale", match[GRADIENT], match[MASK], both, layer=layer)


def _is_float(parameter: ir.Expr) -> bool:
    """Float parameters are updated by themselves, once their gradient is complete."""
    return spec_of(parameter).dtype == "float32"


def _update_weights(name: str, pattern: Any) -> Any:
    def fuse(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
        if _is_float(match[PARAMETER]):
            return call
        fields = vars(attributes_of(match[pattern]))
        arguments = [match[part] for part in (PARAMETER, DATA, GRADIENT, RATE, SCALE)]
        return operator(name, *arguments, **fields)

    return fuse


def _update_bias(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    if _is_float(match[PARAMETER]):
        return call
    attrs = attributes_of(call)
    arguments = [match[part] for part in (PARAMETER, GRADIENT, RATE, SCALE)]
    return operator("bias_update", *arguments, limit=attrs.limit, layer=attrs.layer)


def _updated(gradient: Any) -> Any:
    return is_op("tiny.sgd_update")(PARAMETER, gradient, RATE, SCALE)


RULES = [
    (is_op("tiny.scale_gradient")(SCALED, FACTORS[1]), _scale_once),
    (is_op("tiny.scale_gradient")(MASKED, SCALE), _mask_and_scale),
    (is_op("tiny.masked_scale")(SCALED, MASK, SCALE), _scale_behind_mask),
    (_updated(OF_CONVOLUTION), _update_weights("conv2d_weight_update", OF_CONVOLUTION)),
    (_updated(OF_DEPTHWISE), _update_weights("depthwise_weight_update", OF_DEPTHWISE)),
    (_updated(OF_BIAS), _update_bias),
]


class FuseGradients(GraphPass):
    """Apply the rules above."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, RULES)
