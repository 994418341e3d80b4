"""tiny.slice_gradient: a part of a gradient, as padding and concatenation give it back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.errors import UnsupportedError
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
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES

AXES = 4


@dataclass(frozen=True)
class SliceGradientAttributes(Attributes):
    """Where the part begins, and its shape."""

    begin: tuple[int, ...]
    shape: tuple[int, ...]


def infer(attrs: SliceGradientAttributes, gradient: Argument) -> TensorSpec:
    """The part's shape, float32."""
    return TensorSpec(attrs.shape, "float32")


def meaning(attrs: SliceGradientAttributes, gradient: Array) -> Array:
    """gradient[begin : begin + shape]."""
    ranges = zip(attrs.begin, attrs.shape, strict=True)
    return np.ascontiguousarray(gradient[tuple(slice(b, b + size) for b, size in ranges)])


def kernel(attrs: SliceGradientAttributes, gradient: TensorSpec) -> Kernel:
    """Runs of the last axis, copied."""
    if len(attrs.shape) > AXES:
        raise UnsupportedError("gradients of more axes than four", found=gradient.shape)
    output = infer(attrs, gradient)
    numbers = np.arange(gradient.elements).reshape(gradient.shape)
    sources = meaning(attrs, numbers).reshape(-1)
    ahead = AXES - len(attrs.shape)
    parts = [(1, gradient.shape), (0, attrs.begin), (1, attrs.shape)]
    table = np.array([[fill] * ahead + list(part) for fill, part in parts], np.int32)
    return runtime_kernel(
        "slice_gradient",
        "tiny_slice_gradient",
        [("gradient", gradient)],
        output,
        constants=[("slice", table.reshape(-1))],
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(gradient, output, sources)],
    )


SLICE_GRADIENT = define(
    Operator("tiny.slice_gradient", SliceGradientAttributes, infer, meaning, kernel)
)
