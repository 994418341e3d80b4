"""AppendUpdates: gradients become new values of their states, which `main` returns instead.

A step of stochastic gradient descent: state - rate x scale x gradient, rounded to the nearest
integer. Scales are quantisation-aware (QAS of Lin et al., arXiv 2206.15472): with s_w and s_x the
scales of weights and input, a gradient of weights counts s_w^-2 and one of biases (s_w s_x)^-2, so
that integers move as the real numbers they stand for would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results
from tvm_tiny.relay_passes.separate_trainables import State
from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of
from tvm_tiny.schedules.training import gradients

LARGEST_WEIGHT = 127  # TensorFlow Lite's weights do not use -128
LARGEST_BIAS = (1 << 31) - 1


class AppendUpdates(GraphPass):
    """Apply to a module whose last results are gradients of `states` (derive_gradients.py)."""

    def __init__(self, states: Sequence[State], is_scaled: bool = True) -> None:
        """States in order; `is_scaled` turns quantisation-aware scaling on."""
        self.states, self.is_scaled = tuple(states), is_scaled

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]

        def body(builder: relax.BlockBuilder) -> list[ir.Expr]:
            values: Values = {}
            for var, value in bindings(function):
                values[var] = builder.emit(moved(value, values), var.name)
            fields = [values.get(result, result) for result in results(function)]
            count = len(self.states)
            parameters = {parameter.name: parameter for parameter in function.params}
            sources = {values[var]: moved(value, values) for var, value in bindings(function)}
            updates = [
                self._update(builder, sources, parameters, state, gradient)
                for state, gradient in zip(self.states, fields[-count:], strict=True)
            ]
            return [*fields[:-count], *updates]

        updated = build(function.params, body, dict(function.attrs))
        return relax.transform.DeadCodeElimination()(updated)

    def _update(
        self,
        builder: relax.BlockBuilder,
        sources: dict[ir.Var, Any],
        parameters: dict[str, ir.Var],
        state: State,
        gradient: ir.Var,
    ) -> ir.Var:
        source, parameter = sources[gradient], parameters[state.name]
        is_convolution = source.op.name == "tiny.conv2d_weight_gradient"
        every = tuple(range(state.spec.shape[-1]))
        channels = state.channels if is_convolution and state.channels != every else ()
        if channels:
            fields = vars(attributes_of(source)) | {"channels": channels}
            operator = OPERATORS[source.op.name]
            partial = operator(operator.attributes(**fields), *source.args)
            gradient = builder.emit(partial, gradient.name)
        layer = next(
            call
            for call in sources.values()
            if isinstance(call, ir.Call) and parameter in call.args[1:3]
        )
        scale = relax.const(scale_of(layer, state, self.is_scaled))
        update = gradients.operator(
            "sgd_update",
            parameter,
            gradient,
            parameters["rate"],
            scale,
            axis=0 if is_convolution or state.kind == "bias" else len(state.spec.shape) - 1,
            channels=channels,
            limit=LARGEST_WEIGHT if state.kind == "weight" else LARGEST_BIAS,
            layer=state.layer,
        )
        return builder.emit(update, f"{state.name}_updated")


def scale_of(call: ir.Call, state: State, is_scaled: bool) -> Array:
    """What a gradient is multiplied by before the learning rate, by output channel, float32.

    Raises UnsupportedError where scales are asked for and not known.
    """
    attrs = attributes_of(call)
    # a bias counts in units of 2^-fraction_bits of a sum's
    unit = 2.0**-attrs.fraction_bits if state.kind == "bias" else 1.0
    channels = call.args[3].value.numpy().size
    if not is_scaled:
        return np.full(channels, unit, np.float32)
    if not attrs.input_scale or not attrs.output_scale:
        raise UnsupportedError(
            "scales for quantisation-aware scaling are not known", where=state.layer
        )
    summed = gradients.effective_scale(call) * attrs.output_scale  # s_w s_x
    real = summed * unit if state.kind == "bias" else summed / attrs.input_scale
    return (unit / real**2).astype(np.float32)
