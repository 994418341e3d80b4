"""tiny.mean_gradient: the gradient of a mean goes back to all that it was made of."""

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
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


@dataclass(frozen=True)
class MeanGradientAttributes(Attributes):
    """Shape of the mean's input, its axes, whether they stayed as ones.

    `factor` is what one step of an input's element moves the output by, in its steps.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    keep_dims: int
    factor: float


def infer(attrs: MeanGradientAttributes, gradient: Argument) -> TensorSpec:
    """The input's shape, float32."""
    return TensorSpec(attrs.shape, "float32")


def meaning(attrs: MeanGradientAttributes, gradient: Array) -> Array:
    """gradient * factor, repeated along the axes."""
    kept = [1 if axis in attrs.axes else size for axis, size in enumerate(attrs.shape)]
    scaled = gradient.reshape(kept) * np.float32(attrs.factor)
    return np.ascontiguousarray(np.broadcast_to(scaled, attrs.shape))


def kernel(attrs: MeanGradientAttributes, gradient: TensorSpec) -> Kernel:
    """Products once, then copies."""
    first, last = attrs.axes[0], attrs.axes[-1]
    if attrs.axes != tuple(range(first, last + 1)):
        raise UnsupportedError("gradient of a mean over axes not adjacent", found=attrs.axes)
    sizes = (attrs.shape[:first], attrs.shape[first : last + 1], attrs.shape[last + 1 :])
    return runtime_kernel(
        "mean_gradient",
        "tiny_mean_gradient",
        [("gradient", gradient)],
        infer(attrs, gradient),
        [int(np.prod(size)) for size in sizes],
        constants=[("factor", np.array([attrs.factor], np.float32))],
        sources=BACKWARD_SOURCES,
        overlaps=[None],
    )


MEAN_GRADIENT = define(
    Operator("tiny.mean_gradient", MeanGradientAttributes, infer, meaning, kernel)
)
