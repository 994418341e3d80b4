"""tiny.momentum_velocity: what SGD with momentum steps by, kept from step to step.

The parameter then steps by `tiny.sgd_update` with the velocity as its gradient.
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
from tvm_tiny.schedules.training import adam


@dataclass(frozen=True)
class MomentumVelocityAttributes(Attributes):
    """Share of the velocity that stays; axis of the scale's channels."""

    momentum: float
    axis: int


def infer(
    attrs: MomentumVelocityAttributes, velocity: TensorSpec, gradient: Argument, scale: Argument
) -> TensorSpec:
    """The velocity."""
    return velocity


def meaning(
    attrs: MomentumVelocityAttributes, velocity: Array, gradient: Array, scale: Array
) -> Array:
    """momentum * velocity + scale * gradient; where that is not finite, the velocity."""
    return adam.moment(velocity, gradient, scale, attrs.axis, (attrs.momentum, 1.0))


def kernel(
    attrs: MomentumVelocityAttributes, velocity: TensorSpec, gradient: TensorSpec, scale: Argument
) -> Kernel:
    """One pass, in place."""
    factors = np.array([attrs.momentum, 1.0], np.float32)
    return adam.moment_kernel(
        "momentum_velocity", "tiny_first_moment", velocity, gradient, scale, attrs.axis, factors
    )


MOMENTUM_VELOCITY = define(
    Operator("tiny.momentum_velocity", MomentumVelocityAttributes, infer, meaning, kernel)
)
