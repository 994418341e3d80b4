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
from tvm_tiny.schedules.training.masked_scale import real_scale

FACTORS = wildcard(), wildcard()
DATA, MASK, GRADIENT, PARAMETER, RATE, SCALE = (wildcard() for _ in range(6))
SCALED = is_op("tiny.scale_gradient")(GRADIENT, FACTORS[0])
MASKED_SCALED = is_op("tiny.masked_scale")(GRADIENT, MASK, FACTORS[0])
MASKED = is_op("tiny.mask_gradient")(GRADIENT, MASK)
OF_CONVOLUTION = is_op("tiny.conv2d_weight_gradient")(DATA, GRADIENT)
OF_DEPTHWISE = is_op("tiny.depthwise_weight_gradient")(DATA, GRADIENT)
OF_BIAS = is_op("tiny.bias_gradient")(GRADIENT)


def _scale_once(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """Two scales of one gradient; rows of a layer take a number as their factor."""
    inner, outer = attributes_of(match[SCALED]), attributes_of(call)
    first, second = (match[factor].value.numpy() for factor in FACTORS)
    if first.size != 1:
        return call
    factor = float(real_scale(first, inner.factor)[0]) * outer.factor
    scale = relax.const(second)
    return operator("scale_gradient", match[GRADIENT], scale, factor=factor, layer=outer.layer)


def _mask_and_scale(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    arguments = [match[part] for part in (GRADIENT, MASK, SCALE)]
    return operator("masked_scale", *arguments, **vars(attributes_of(call)))


def _scale_behind_mask(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    inner, outer = attributes_of(match[SCALED]), attributes_of(call)
    first = match[FACTORS[0]].value.numpy()
    if first.size != 1:
        return call
    factor = float(real_scale(first, inner.factor)[0]) * outer.factor
    arguments = [match[part] for part in (GRADIENT, MASK, SCALE)]
    return operator("masked_scale", *arguments, factor=factor, layer=outer.layer)


def _update_weights(name: str, pattern: Any) -> Any:
    def fuse(_: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
        fields = vars(attributes_of(match[pattern]))
        arguments = [match[part] for part in (PARAMETER, DATA, GRADIENT, RATE, SCALE)]
        return operator(name, *arguments, **fields)

    return fuse


def _update_bias(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    if spec_of(match[PARAMETER]).dtype == "float32":
        return call  # a gradient of few floats, by itself
    attrs = attributes_of(call)
    arguments = [match[part] for part in (PARAMETER, GRADIENT, RATE, SCALE)]
    return operator("bias_update", *arguments, limit=attrs.limit, layer=attrs.layer)


def _update_bias_by_scale(scaled: Any) -> Any:
    """Rows that scale the gradient tell the update's scale: a factor over their square."""

    def fuse(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
        attrs = attributes_of(call)
        own, wanted = match[FACTORS[0]].value.numpy(), match[SCALE].value.numpy()
        if own.dtype != np.int32 or len(own) != len(wanted):
            return call
        with np.errstate(all="ignore"):
            factors = wanted * real_scale(own).astype(np.float64) ** 2
            factor = float(np.float32(np.median(factors)))
            is_alike = np.allclose(factors, factor, rtol=1e-6, atol=0)
        if not factor or not is_alike:
            return call
        arguments = [match[PARAMETER], match[scaled], match[RATE], match[FACTORS[0]]]
        fields = {"limit": attrs.limit, "factor": factor}
        return operator("bias_update", *arguments, layer=attrs.layer, **fields)

    return fuse


def _updated(gradient: Any) -> Any:
    return is_op("tiny.sgd_update")(PARAMETER, gradient, RATE, SCALE)


OF_MASKS = [
    (is_op("tiny.scale_gradient")(SCALED, FACTORS[1]), _scale_once),
    (is_op("tiny.scale_gradient")(MASKED, SCALE), _mask_and_scale),
    (is_op("tiny.masked_scale")(SCALED, MASK, SCALE), _scale_behind_mask),
]
OF_UPDATES = [
    (_updated(OF_CONVOLUTION), _update_weights("conv2d_weight_update", OF_CONVOLUTION)),
    (_updated(OF_DEPTHWISE), _update_weights("depthwise_weight_update", OF_DEPTHWISE)),
    (_updated(is_op("tiny.bias_gradient")(SCALED)), _update_bias_by_scale(SCALED)),
    (_updated(is_op("tiny.bias_gradient")(MASKED_SCALED)), _update_bias_by_scale(MASKED_SCALED)),
    (_updated(OF_BIAS), _update_bias),
]


class FuseGradients(GraphPass):
    """Apply the rules above, or those of masks or of updates alone."""

    def __init__(self, masks: bool = True, updates: bool = True) -> None:
        """Which rules."""
        self.rules = [*(OF_MASKS if masks else ()), *(OF_UPDATES if updates else ())]

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, self.rules)
