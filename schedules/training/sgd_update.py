"""tiny.sgd_update: one step of stochastic gradient descent of a parameter, in place.

int8 parameters are rounded to the nearest integer, halves to even, after the step is taken. int32
parameters, which float32 does not hold, take the rounded step as an integer. What would not be
finite is not done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.errors import UnsupportedError
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
from tvm_tiny.schedules.training.float_steps import IN_PLACE, UPDATE_SOURCES, along, step

FUNCTIONS = {
    "int8": "tiny_sgd_update_int8",
    "int32": "tiny_sgd_update_int32",
    "float32": "tiny_sgd_update_float",
}


@dataclass(frozen=True)
class SgdUpdateAttributes(Attributes):
    """Axis of the scale's channels; indices on the last axis that have gradients, in their order.

    No `channels` are all of them. `limit` is the largest magnitude of an integer parameter.
    """

    axis: int
    channels: tuple[int, ...]
    limit: int


def infer(
    attrs: SgdUpdateAttributes,
    parameter: TensorSpec,
    gradient: Argument,
    rate: Argument,
    scale: Argument,
) -> TensorSpec:
    """The parameter."""
    if parameter.dtype not in FUNCTIONS:
        raise UnsupportedError("updates of a parameter of this type", found=parameter.dtype)
    return parameter


def meaning(
    attrs: SgdUpdateAttributes, parameter: Array, gradient: Array, rate: Array, scale: Array
) -> Array:
    """round(parameter - rate * scale * gradient) within the limit, on the chosen channels."""
    with np.errstate(all="ignore"):
        each = rate.reshape(-1)[0].astype(np.float32) * scale.astype(np.float32).reshape(-1)
    factor = np.broadcast_to(along(each, parameter, attrs.axis), parameter.shape)
    chosen = list(attrs.channels) or list(range(parameter.shape[-1]))
    gradient = gradient.reshape(*parameter.shape[:-1], len(chosen))
    result = parameter.copy()
    part = np.ascontiguousarray(parameter[..., chosen])
    result[..., chosen] = step(part, factor[..., chosen], gradient, attrs.limit)
    return result


def kernel(
    attrs: SgdUpdateAttributes,
    parameter: TensorSpec,
    gradient: TensorSpec,
    rate: TensorSpec,
    scale: Argument,
) -> Kernel:
    """Row by row of the last axis; in place."""
    arguments: list[Named] = [("parameter", parameter), ("gradient", gradient)]
    arguments += [("rate", rate), ("scale", scale)]
    run_time = sum(isinstance(argument, TensorSpec) for _, argument in arguments)
    return runtime_kernel(
        "sgd_update",
        FUNCTIONS[parameter.dtype],
        arguments,
        parameter,
        () if parameter.dtype == "float32" else (attrs.limit,),
        constants=[("places", places(attrs, parameter, scale))],
        sources=UPDATE_SOURCES,
        overlaps=[IN_PLACE, *[None] * (run_time - 1)],
    )


def places(attrs: SgdUpdateAttributes, parameter: TensorSpec, scale: Argument) -> Array:
    """Those of the attributes' channels and axis."""
    return places_of(parameter, attrs.channels, attrs.axis, int(np.prod(scale.shape)))


def places_of(parameter: TensorSpec, channels: tuple[int, ...], axis: int, scales: int) -> Array:
    """What the C functions read; see tvm_tiny_update.h."""
    columns = parameter.shape[-1]
    listed = () if channels == tuple(range(columns)) else channels
    extents = (parameter.elements // columns, columns, len(listed) or columns, bool(listed))
    values = (*extents, inner_of(parameter, axis), scales, *listed)
    return np.array(values, np.int32)


def inner_of(parameter: TensorSpec, axis: int) -> int:
    """Elements between one channel of an axis and the next."""
    return int(np.prod(parameter.shape[axis % len(parameter.shape) + 1 :]))


SGD_UPDATE = define(Operator("tiny.sgd_update", SgdUpdateAttributes, infer, meaning, kernel))
