"""tiny.bias_update: one step of a layer's bias, whose gradient never exists as a tensor."""

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
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import IN_PLACE, UPDATE_SOURCES, pixel_sum, step
from tvm_tiny.schedules.training.masked_scale import real_scale


@dataclass(frozen=True)
class BiasUpdateAttributes(Attributes):
    """Largest magnitude of a bias, and how the scale is meant.

    With a `factor` the scale of a step is factor / scale^2: quantisation-aware scaling by the
    layer's effective scales, int32 rows as tiny.masked_scale takes them, that stand once in the
    Flash.
    """

    limit: int
    factor: float = 0.0


def infer(
    attrs: BiasUpdateAttributes,
    bias: TensorSpec,
    gradient: Argument,
    rate: Argument,
    scale: Argument,
) -> TensorSpec:
    """The bias."""
    return bias


def meaning(
    attrs: BiasUpdateAttributes, bias: Array, gradient: Array, rate: Array, scale: Array
) -> Array:
    """clip(bias - round(rate * scale * sum of the gradient)), as tiny.sgd_update rounds."""
    with np.errstate(all="ignore"):
        if attrs.factor:
            real = real_scale(scale)
            scale = np.float32(attrs.factor) / (real * real)
        factor = rate.astype(np.float32) * scale.astype(np.float32)
    return step(bias, factor, pixel_sum(gradient), attrs.limit)


def kernel(
    attrs: BiasUpdateAttributes,
    bias: TensorSpec,
    gradient: TensorSpec,
    rate: TensorSpec,
    scale: Argument,
) -> Kernel:
    """Channels by blocks, each over all pixels; in place."""
    channels = bias.elements
    arguments = [("bias", bias), ("gradient", gradient), ("rate", rate), ("scale", scale)]
    run_time = sum(isinstance(argument, TensorSpec) for _, argument in arguments)
    name = "bias_update_by_rows" if attrs.factor else "bias_update"
    factors = [("factor", np.array([attrs.factor], np.float32))] if attrs.factor else []
    return runtime_kernel(
        name,
        f"tiny_{name}",
        arguments,
        bias,
        [gradient.elements // channels, channels, attrs.limit],
        constants=factors,
        sources=UPDATE_SOURCES,
        overlaps=[IN_PLACE, *[None] * (run_time - 1)],
    )


BIAS_UPDATE = define(Operator("tiny.bias_update", BiasUpdateAttributes, infer, meaning, kernel))
