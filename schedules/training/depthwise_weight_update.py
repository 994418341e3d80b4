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
    TensorSpec,
    define,
)
from tvm_tiny.schedules.runtime_kernel import Named
from tvm_tiny.schedules.training import depthwise_weight_gradient
from tvm_tiny.schedules.training.gradient_windows import (
    DepthwiseWeightGradientAttributes,
    descend,
    update_kernel,
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
    named: list[Named] = [("weight", weight), ("data", data), ("gradient", gradient)]
    named += [("rate", rate), ("scale", scale)]
    parts = depthwise_weight_gradient.parts(attrs, data, gradient)
    return update_kernel("depthwise_weight_update", named, parts)


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
