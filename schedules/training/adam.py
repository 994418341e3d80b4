"""tiny.adam_first_moment, tiny.adam_second_moment, tiny.adam_update: Adam, for float parameters.

Moments are states beside the parameter. One operator has one output, so there are three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training.float_steps import (
    IN_PLACE,
    UPDATE_SOURCES,
    along,
    fused,
)
from tvm_tiny.schedules.training.sgd_update import inner_of, places_of


@dataclass(frozen=True)
class AdamMomentAttributes(Attributes):
    """Share of the moment that stays (beta); axis of the scale's channels."""

    decay: float
    axis: int

    @property
    def factors(self) -> tuple[float, float]:
        """Of the moment, and of what is new."""
        return self.decay, 1.0 - self.decay


@dataclass(frozen=True)
class AdamUpdateAttributes(Attributes):
    """Shares of the moments that stay, and what keeps the quotient finite.

    Moments are of the `channels` on the parameter's last axis, in their order; none are all.
    """

    first_decay: float
    second_decay: float
    epsilon: float
    channels: tuple[int, ...] = ()


def infer(
    attrs: AdamMomentAttributes, moment: TensorSpec, gradient: Argument, scale: Argument
) -> TensorSpec:
    """The moment."""
    return moment


def moment(
    state: Array,
    gradient: Array,
    scale: Array,
    axis: int,
    factors: tuple[float, float],
    is_squared: bool = False,
) -> Array:
    """decay * state + share * (scale * gradient), or its square; the state where not finite."""
    decay, share = (np.float32(factor) for factor in factors)
    with np.errstate(all="ignore"):
        scaled = along(scale.astype(np.float32), state, axis) * gradient.reshape(state.shape)
        moved = fused(decay, state, share * (scaled * scaled if is_squared else scaled))
    return np.where(np.isfinite(moved), moved, state)


def first_meaning(
    attrs: AdamMomentAttributes, first: Array, gradient: Array, scale: Array
) -> Array:
    """decay * first + (1 - decay) * scale * gradient."""
    return moment(first, gradient, scale, attrs.axis, attrs.factors)


def second_meaning(
    attrs: AdamMomentAttributes, second: Array, gradient: Array, scale: Array
) -> Array:
    """decay * second + (1 - decay) * (scale * gradient)^2."""
    return moment(second, gradient, scale, attrs.axis, attrs.factors, is_squared=True)


def moment_kernel(
    name: str,
    function: str,
    state: TensorSpec,
    gradient: TensorSpec,
    scale: Argument,
    axis: int,
    factors: Array,
) -> Kernel:
    """One pass, in place."""
    arguments: list[Named] = [("moment", state), ("gradient", gradient), ("scale", scale)]
    run_time = sum(isinstance(argument, TensorSpec) for _, argument in arguments)
    return runtime_kernel(
        name,
        function,
        arguments,
        state,
        [state.elements, inner_of(state, axis), int(np.prod(scale.shape))],
        constants=[("factors", factors)],
        sources=UPDATE_SOURCES,
        overlaps=[IN_PLACE, *[None] * (run_time - 1)],
    )


def first_kernel(
    attrs: AdamMomentAttributes, first: TensorSpec, gradient: TensorSpec, scale: Argument
) -> Kernel:
    """One pass, in place."""
    factors = np.array(attrs.factors, np.float32)
    return moment_kernel(
        "adam_first_moment", "tiny_first_moment", first, gradient, scale, attrs.axis, factors
    )


def second_kernel(
    attrs: AdamMomentAttributes, second: TensorSpec, gradient: TensorSpec, scale: Argument
) -> Kernel:
    """One pass, in place."""
    factors = np.array(attrs.factors, np.float32)
    return moment_kernel(
        "adam_second_moment", "tiny_second_moment", second, gradient, scale, attrs.axis, factors
    )


def infer_update(
    attrs: AdamUpdateAttributes,
    parameter: TensorSpec,
    first: Argument,
    second: Argument,
    rate: Argument,
    step: Argument,
) -> TensorSpec:
    """The parameter."""
    return parameter


def update_meaning(
    attrs: AdamUpdateAttributes,
    parameter: Array,
    first: Array,
    second: Array,
    rate: Array,
    step: Array,
) -> Array:
    """parameter - rate * first' / (sqrt(second') + epsilon), moments without their bias to 0."""
    chosen = list(attrs.channels) or slice(None)
    number = float(step.reshape(-1)[0])
    if not number >= 1:
        return parameter
    shares = [-np.expm1(np.floor(number) * np.log(d)) for d in _decays(attrs)]
    with np.errstate(all="ignore"):
        root = np.sqrt(second.astype(np.float64) / shares[1]) + attrs.epsilon
        old = parameter[..., chosen]
        moved = old - rate.astype(np.float64) / shares[0] * first / root
        moved = moved.astype(np.float32)
    result = parameter.copy()
    result[..., chosen] = np.where(np.isfinite(moved), moved, old)
    return result


def update_kernel(
    attrs: AdamUpdateAttributes,
    parameter: TensorSpec,
    first: TensorSpec,
    second: TensorSpec,
    rate: TensorSpec,
    step: TensorSpec,
) -> Kernel:
    """One pass, in place."""
    rests = [1.0 - decay for decay in _decays(attrs)]
    factors = np.array([*rests, attrs.epsilon], np.float32)
    arguments: list[Named] = [("parameter", parameter), ("first", first), ("second", second)]
    return runtime_kernel(
        "adam_update",
        "tiny_adam_update",
        [*arguments, ("rate", rate), ("step", step)],
        parameter,
        constants=[("factors", factors), ("places", places_of(parameter, attrs.channels, 0, 1))],
        sources=UPDATE_SOURCES,
        overlaps=[IN_PLACE, None, None, None, None],
    )


def _decays(attrs: AdamUpdateAttributes) -> tuple[float, float]:
    return attrs.first_decay, attrs.second_decay


ADAM_FIRST_MOMENT = define(
    Operator("tiny.adam_first_moment", AdamMomentAttributes, infer, first_meaning, first_kernel)
)
ADAM_SECOND_MOMENT = define(
    Operator("tiny.adam_second_moment", AdamMomentAttributes, infer, second_meaning, second_kernel)
)
ADAM_UPDATE = define(
    Operator("tiny.adam_update", AdamUpdateAttributes, infer_update, update_meaning, update_kernel)
)
