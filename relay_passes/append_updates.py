"""AppendUpdates: gradients become new values of their states, which `main` returns instead.

A step of stochastic gradient descent: state - rate x scale x gradient, rounded to the nearest
integer. Scales are quantisation-aware (QAS of Lin et al., arXiv 2206.15472): with s_w and s_x the
scales of weights and input, a gradient of weights counts s_w^-2 and one of biases (s_w s_x)^-2, so
that integers move as the real numbers they stand for would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.relay_passes.separate_trainables import State
from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of
from tvm_tiny.schedules.training import gradients

LARGEST_WEIGHT = 127  # TensorFlow Lite's weights do not use -128
LARGEST_BIAS = (1 << 31) - 1
ONE = np.ones(1, np.float32)
STEPS = "optimizer_steps"


class AppendUpdates(GraphPass):
    """Apply to a module whose last results are gradients of `states` (derive_gradients.py).

    What the optimizer keeps from step to step are further states; `states` has them when the pass
    has run.
    """

    def __init__(self, states: Sequence[State] = (), optimizer: Optimizer | None = None) -> None:
        """States in order; gradient descent with scales if no optimizer is given."""
        self.trained, self.optimizer = tuple(states), optimizer or Optimizer()
        self.states = self.trained

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]
        updater = _Updater(function, self.trained, self.optimizer)
        self.states = (*self.trained, *updater.kept)
        names = [state.name for state in self.states]
        attributes = {**dict(function.attrs), "tiny.states": names}
        parameters = [*function.params, *updater.kept.values()]
        updated = build(parameters, updater.body, attributes)
        return relax.transform.DeadCodeElimination()(updated)


@dataclass
class _Updater:
    """One application; `kept` are the optimizer's own states."""

    function: relax.Function
    trained: Sequence[State]
    optimizer: Optimizer
    kept: dict[State, ir.Var] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {parameter.name: parameter for parameter in self.function.params}
        found = [kept for state in self.trained for kept in kept_for(state, self.optimizer)]
        if self.optimizer.kind == "adam":
            found.append(State(STEPS, np.zeros(1, np.float32), "optimizer", "steps"))
        self.kept = {
            state: relax.Var(state.name, relax.TensorType(state.spec.shape, state.spec.dtype))
            for state in found
        }
        self.parameters |= {state.name: var for state, var in self.kept.items()}

    def body(self, builder: relax.BlockBuilder) -> list[ir.Expr]:
        """What the function returns now: new values of all states at its end."""
        values: Values = {}
        for var, value in bindings(self.function):
            values[var] = builder.emit(moved(value, values), var.name)
        self.sources = {values[var]: moved(value, values) for var, value in bindings(self.function)}
        fields = [values.get(result, result) for result in results(self.function)]
        count = len(self.trained)
        self.builder = builder
        self.updated: dict[str, ir.Expr] = {}
        if self.optimizer.kind == "adam":
            # the step's number is a sum of ones
            one = relax.const(ONE)
            self._keep(STEPS, "momentum_velocity", one, one, momentum=1.0, axis=0)
        for state, gradient in zip(self.trained, fields[-count:], strict=True):
            self._update(state, gradient)
        every = [*self.trained, *self.kept]
        return [*fields[:-count], *(self.updated[state.name] for state in every)]

    def _update(self, state: State, gradient: ir.Var) -> None:
        is_convolution = self.sources[gradient].op.name == "tiny.conv2d_weight_gradient"
        channels = _part(state) if is_convolution else ()
        if channels:
            partial = _with_channels(self.sources[gradient], channels)
            gradient = self.builder.emit(partial, gradient.name)
        axis = 0 if is_convolution or state.kind == "bias" else len(state.spec.shape) - 1
        if self.optimizer.kind == "adam":
            self._adam(state, gradient, channels)
            return
        if self.optimizer.kind == "momentum":
            own = {"momentum": self.optimizer.momentum, "axis": axis}
            one = relax.const(ONE)
            name = f"{state.name}_velocity"
            gradient = self._keep(name, "momentum_velocity", gradient, one, **own)
        parameter = self.parameters[state.name]
        layer = next(
            call
            for call in self.sources.values()
            if isinstance(call, ir.Call) and parameter in call.args[1:3]
        )
        scale = relax.const(scale_of(layer, state, self.optimizer.is_scaled))
        fields = {"axis": axis, "channels": channels, "layer": state.layer}
        limit = LARGEST_WEIGHT if state.kind == "weight" else LARGEST_BIAS
        rate = self.parameters["rate"]
        self._keep(state.name, "sgd_update", gradient, rate, scale, limit=limit, **fields)

    def _adam(self, state: State, gradient: ir.Expr, channels: tuple[int, ...]) -> None:
        chosen, one = self.optimizer, relax.const(ONE)
        fields: dict[str, Any] = {"axis": 0, "layer": state.layer}
        moments = [
            self._keep(f"{state.name}_{which}_moment", name, gradient, one, decay=decay, **fields)
            for which, name, decay in (
                ("first", "adam_first_moment", chosen.beta1),
                ("second", "adam_second_moment", chosen.beta2),
            )
        ]
        self._keep(
            state.name,
            "adam_update",
            *moments,
            self.parameters["rate"],
            self.updated[STEPS],
            first_decay=chosen.beta1,
            second_decay=chosen.beta2,
            epsilon=chosen.epsilon,
            channels=channels,
            layer=state.layer,
        )

    def _keep(self, name: str, operator: str, *arguments: ir.Expr, **fields: Any) -> ir.Var:
        """Give a state the value that an operator makes of it."""
        call = gradients.operator(operator, self.parameters[name], *arguments, **fields)
        self.updated[name] = self.builder.emit(call, f"{name}_updated")
        return self.updated[name]


def kept_for(state: State, optimizer: Optimizer) -> list[State]:
    """What the optimizer keeps for a trained state, all zeros at first."""
    if optimizer.kind == "adam" and state.spec.dtype != "float32":
        raise UnsupportedError(
            "Adam trains float models",
            where=state.layer,
            found=state.spec.dtype,
            hint="use momentum",
        )
    names = {"momentum": ("velocity",), "adam": ("first_moment", "second_moment")}
    *outer, columns = state.spec.shape
    zeros = np.zeros((*outer, len(_part(state)) or columns), np.float32)
    return [
        State(f"{state.name}_{name}", zeros, state.layer, name)
        for name in names.get(optimizer.kind, ())
    ]


def _part(state: State) -> tuple[int, ...]:
    """The channels of a state that change, where they are not all."""
    every = tuple(range(state.spec.shape[-1]))
    return () if state.channels == every else state.channels


def _with_channels(call: ir.Call, channels: tuple[int, ...]) -> ir.Call:
    """A weight gradient of these input channels alone."""
    operator = OPERATORS[call.op.name]
    fields = vars(attributes_of(call)) | {"channels": channels}
    return operator(operator.attributes(**fields), *call.args)


def scale_of(call: ir.Call, state: State, is_scaled: bool) -> Array:
    """What a gradient is multiplied by before the learning rate, by output channel, float32.

    Raises UnsupportedError where scales are asked for and not known.
    """
    attrs = attributes_of(call)
    if state.spec.dtype == "float32":
        return ONE
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
