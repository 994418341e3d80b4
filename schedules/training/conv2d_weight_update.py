"""tiny.conv2d_weight_update: a step of gradient descent on a convolution's weights, in place.

The same as tiny.conv2d_weight_gradient and tiny.sgd_update, bit for bit, without the gradient in
memory. Weights of float models, as their inputs, are floats, with one scale for all.
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
from tvm_tiny.schedules.training import conv2d_weight_gradient, float_depthwise
from tvm_tiny.schedules.training.gradient_windows import (
    FLOAT_SOURCES,
    WeightGradientAttributes,
    descend,
    update_kernel,
)

NAME = "conv2d_weight_update"


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
    """round(weight - rate * scale * its gradient), from -127 to 127, on the chosen channels.

    Floats are neither rounded nor clamped.
    """
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
    assert weight.dtype == "int8" or scale.shape == (1,)
    if weight.dtype == "float32" and conv2d_weight_gradient.is_depthwise(attrs, data):
        return float_depthwise.weight_update_kernel(attrs, named)
    numbers, constants, scratch = conv2d_weight_gradient.parts(attrs, data, gradient)
    if weight.dtype == "float32":
        parts = numbers[1:], constants, scratch  # floats have no zero point
        return update_kernel(NAME, named, parts, f"float_{NAME}", FLOAT_SOURCES)
    return update_kernel(NAME, named, (numbers, constants, scratch))


CONV2D_WEIGHT_UPDATE = define(
    Operator("tiny.conv2d_weight_update", WeightGradientAttributes, infer, meaning, kernel, macs)
)
