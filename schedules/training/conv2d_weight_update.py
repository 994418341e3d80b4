"""tiny.conv2d_weight_update: a step of gradient descent on a convolution's weights, in place.

The same as tiny.conv2d_weight_gradient and tiny.sgd_update, bit for bit, without the gradient in
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
from tvm_tiny.schedules.training import conv2d_weight_gradient
from tvm_tiny.schedules.training.gradient_windows import (
    WeightGradientAttributes,
    descend,
    update_kernel,
)


def infer(attrs: WeightGradientAttributes, weight: TensorSpec, *rest: Argument) -> TensorSpec:
    """The weights."""
    return weight


def meaning(
    attrs: WeightGradientAttributes,
    weight: Array,
    data: Array,
    gradient: Array,
    rate: Array,
    scale: Array,
) -> Array:
    """round(weight - rate * scale * its gradient), from -127 to 127, on the chosen channels."""
    chosen = list(attrs.chosen(weight.shape[3]))
    slope = conv2d_weight_gradient.meaning(attrs, data, gradient)
    by_output = scale.reshape(-1, 1, 1, 1)
    updated = weight.copy()
    updated[..., chosen] = descend(weight[..., chosen], slope, rate, by_output)
    return updated


def macs(
    attrs: WeightGradientAttributes,
    weight: TensorSpec,
    data: TensorSpec,
    gradient: TensorSpec,
    *rest: Argument,
) -> int:
    """Those of the gradient."""
    return conv2d_weight_gradient.macs(attrs, data, gradient)


def kernel(
    attrs: WeightGradientAttributes,
    weight: TensorSpec,
    data: TensorSpec,
    gradient: TensorSpec,
    rate: Argument,
    scale: Argument,
) -> Kernel:
    """Each weight is written once its sum is complete; all others keep their bytes."""
    named: list[Named] = [("weight", weight), ("data", data), ("gradient", gradient)]
    named += [("rate", rate), ("scale", scale)]
    parts = conv2d_weight_gradient.parts(attrs, data, gradient)
    return update_kernel("conv2d_weight_update", named, parts)


CONV2D_WEIGHT_UPDATE = define(
    Operator("tiny.conv2d_weight_update", WeightGradientAttributes, infer, meaning, kernel, macs)
)
