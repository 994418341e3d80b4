"""tiny.resize_gradient: the gradient of copies of a pixel is their sum."""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Argument, Array, Kernel, Operator, TensorSpec, define
from tvm_tiny.schedules.resize import ResizeAttributes
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


def infer(attrs: ResizeAttributes, gradient: Argument) -> TensorSpec:
    """Height and width divided by the factors."""
    batch, height, width, channels = gradient.shape
    size = (height // attrs.factors[0], width // attrs.factors[1])
    return TensorSpec((batch, *size, channels), "float32")


def meaning(attrs: ResizeAttributes, gradient: Array) -> Array:
    """Sum over blocks of factors' size, row by row."""
    batch, height, width, channels = infer(attrs, gradient).shape
    rows, columns = attrs.factors
    blocks = gradient.reshape(batch, height, rows, width, columns, channels)
    by_tap = blocks.transpose(2, 4, 0, 1, 3, 5).reshape(-1, batch, height, width, channels)
    with np.errstate(all="ignore"):
        return np.add.accumulate(by_tap, axis=0, dtype=np.float32)[-1]


def kernel(attrs: ResizeAttributes, gradient: TensorSpec) -> Kernel:
    """One number of the output at a time."""
    output = infer(attrs, gradient)
    rows, columns = attrs.factors
    numbers = np.arange(gradient.elements).reshape(gradient.shape)
    first_taps = numbers[:, ::rows, ::columns].reshape(-1)
    return runtime_kernel(
        "resize_gradient",
        "tiny_resize_gradient",
        [("gradient", gradient)],
        output,
        [*output.shape, rows, columns],
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(gradient, output, first_taps)],
    )


RESIZE_GRADIENT = define(Operator("tiny.resize_gradient", ResizeAttributes, infer, meaning, kernel))
