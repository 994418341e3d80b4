"""tiny.bias_gradient: the sum of a gradient over all pixels, for each channel."""

from __future__ import annotations

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
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES, pixel_sum


def infer(attrs: Attributes, gradient: Argument) -> TensorSpec:
    """One number for each channel."""
    return TensorSpec((gradient.shape[-1],), "float32")


def meaning(attrs: Attributes, gradient: Array) -> Array:
    """Sum over all axes but the last, in order."""
    return pixel_sum(gradient)


def kernel(attrs: Attributes, gradient: TensorSpec) -> Kernel:
    """Channels by blocks, each over all pixels."""
    channels = gradient.shape[-1]
    return runtime_kernel(
        "bias_gradient",
        "tiny_bias_gradient",
        [("gradient", gradient)],
        infer(attrs, gradient),
        [gradient.elements // channels, channels],
        sources=BACKWARD_SOURCES,
        overlaps=[None],
    )


BIAS_GRADIENT = define(Operator("tiny.bias_gradient", Attributes, infer, meaning, kernel))
