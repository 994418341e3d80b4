"""tiny.depthwise_weight_update: a step of gradient descent on depthwise weights, in place.

The same as tiny.depthwise_weight_gradient and tiny.sgd_update, bit for bit, without the gradient in
memory.
"""

from __future__ import annotations

from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Kernel,
    Operator,
    Overlap,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import depthwise_weight_gradient
from tvm_tiny.schedules.training.gradient_windows import (
    SOURCES,
    DepthwiseWeightGradientAttributes,
    descend,
)


def infer(
    attrs: DepthwiseWeightGradientAttributes, weight: TensorSpec, *rest: Argument
) -> TensorSpec:
    """The weights."""
    return weight


def meaning(
    attrs: DepthwiseWeightGradientAttributes,
    weight: Array,
    data: Array,
    gradient: Array,
    rate: Array,
    scale: Array,
) -> Array:
    """round(weight - rate * scale * its gradient), from -127 to 127."""
    slope = depthwise_weight_gradient.meaning(attrs, data, gradient)
    return descend(weight, slope, rate, scale)


def macs(
    attrs: DepthwiseWeightGradientAttributes,
    weight: TensorSpec,
    data: TensorSpec,
    gradient: TensorSpec,
    *rest: Argument,
) -> int:
    """Those of the gradient."""
    return depthwise_weight_gradient.macs(attrs, data, gradient)


def kernel(
    attrs: DepthwiseWeightGradientAttributes,
    weight: TensorSpec,
    data: TensorSpec,
    gradient: TensorSpec,
    rate: Argument,
    scale: Argument,
) -> Kernel:
    """Each weight is written once its sum is complete."""
    numbers, constants, scratch = depthwise_weight_gradient.parts(attrs, data, gradient)
    named = [("weight", weight), ("data", data), ("gradient", gradient)]
    named_rest: list[tuple[str, Argument]] = [*named, ("rate", rate), ("scale", scale)]
    given = [argument for _, argument in named_rest if isinstance(argument, TensorSpec)]
    return runtime_kernel(
        "depthwise_weight_update",
        "tiny_depthwise_weight_update",
        named_rest,
        weight,
        numbers,
        constants=constants,
        scratch=scratch,
        sources=SOURCES,
        overlaps=(Overlap(0, is_exact=True), *[None] * (len(given) - 1)),
    )


DEPTHWISE_WEIGHT_UPDATE = define(
    Operator(
        "tiny.depthwise_weight_update",
        DepthwiseWeightGradientAttributes,
        infer,
        meaning,
        kernel,
        macs,
    )
)
