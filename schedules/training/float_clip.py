"""tiny.float_clip: relu, relu6 and other bounds of floats, in place; tiny.clip_gradient.

The gradient reads what was clipped: outside of the bounds and at them it is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules import overlaps
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
from tvm_tiny.schedules.training.float_steps import FLOAT_SOURCES


@dataclass(frozen=True)
class FloatClipAttributes(Attributes):
    """Bounds, which may be infinite."""

    low: float
    high: float

    @property
    def bounds(self) -> Array:
        """Both, float32."""
        return np.array([self.low, self.high], np.float32)


def infer(attrs: FloatClipAttributes, data: Argument, *others: Argument) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(tuple(data.shape), "float32")


def meaning(attrs: FloatClipAttributes, data: Array) -> Array:
    """The value within the bounds; NaN stays."""
    return np.clip(data, *attrs.bounds)


def kernel(attrs: FloatClipAttributes, data: TensorSpec) -> Kernel:
    """One pass over the elements."""
    return runtime_kernel(
        "float_clip",
        "tiny_float_clip",
        [("data", data)],
        infer(attrs, data),
        [data.elements],
        constants=[("bounds", attrs.bounds)],
        sources=FLOAT_SOURCES,
        overlaps=[overlaps.elements(data, data)],
    )


def gradient_meaning(attrs: FloatClipAttributes, gradient: Array, clipped: Array) -> Array:
    """The gradient where the clipped value lies between the bounds."""
    low, high = attrs.bounds
    return np.where((clipped > low) & (clipped < high), gradient, np.float32(0))


def gradient_kernel(
    attrs: FloatClipAttributes, gradient: TensorSpec, clipped: TensorSpec
) -> Kernel:
    """One pass over the elements."""
    overlap = overlaps.elements(gradient, gradient)
    return runtime_kernel(
        "clip_gradient",
        "tiny_clip_gradient",
        [("gradient", gradient), ("clipped", clipped)],
        infer(attrs, gradient),
        [gradient.elements],
        constants=[("bounds", attrs.bounds)],
        sources=FLOAT_SOURCES,
        overlaps=[overlap, overlap],
    )


FLOAT_CLIP = define(Operator("tiny.float_clip", FloatClipAttributes, infer, meaning, kernel))
CLIP_GRADIENT = define(
    Operator("tiny.clip_gradient", FloatClipAttributes, infer, gradient_meaning, gradient_kernel)
)
