"""tiny.mask_gradient, tiny.scale_gradient, and both fused: tiny.masked_scale.

A layer's clamp lets a gradient pass where the value lay within; its rescaling multiplies it by one
real number for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


def infer(attrs: Attributes, gradient: Argument, *others: Argument) -> TensorSpec:
    """Same shape, float32."""
    return TensorSpec(tuple(gradient.shape), "float32")


def bits_of(mask: Array, count: int) -> Array:
    """The first `count` bits of a mask: bit i % 8 of byte i // 8."""
    return np.unpackbits(mask.reshape(-1), count=count, bitorder="little")


def mask_meaning(attrs: Attributes, gradient: Array, mask: Array) -> Array:
    """The gradient where its bit is set, else 0."""
    is_set = bits_of(mask, gradient.size).reshape(gradient.shape)
    return np.where(is_set != 0, gradient, np.float32(0))


def scale_meaning(attrs: Attributes, gradient: Array, scale: Array) -> Array:
    """gradient * scale of the last axis, or of all."""
    with np.errstate(all="ignore"):
        return gradient * scale.astype(np.float32)


def masked_scale_meaning(attrs: Attributes, gradient: Array, mask: Array, scale: Array) -> Array:
    """gradient * scale where the bit of the mask is set, else 0."""
    return mask_meaning(attrs, scale_meaning(attrs, gradient, scale), mask)


def mask_kernel(attrs: Attributes, gradient: TensorSpec, mask: TensorSpec) -> Kernel:
    """One pass over the elements."""
    named: list[Named] = [("gradient", gradient), ("mask", mask)]
    return _kernel("mask_gradient", gradient, named, [gradient.elements])


def scale_kernel(attrs: Attributes, gradient: TensorSpec, scale: Argument) -> Kernel:
    """One pass over the pixels."""
    named: list[Named] = [("gradient", gradient), ("scale", scale)]
    return _kernel("scale_gradient", gradient, named, _extents(gradient, scale))


def masked_scale_kernel(
    attrs: Attributes, gradient: TensorSpec, mask: TensorSpec, scale: Argument
) -> Kernel:
    """One pass over the pixels."""
    named: list[Named] = [("gradient", gradient), ("mask", mask), ("scale", scale)]
    return _kernel("masked_scale", gradient, named, _extents(gradient, scale))


def _kernel(
    name: str, gradient: TensorSpec, arguments: Sequence[Named], numbers: Sequence[int]
) -> Kernel:
    others = sum(isinstance(argument, TensorSpec) for _, argument in arguments) - 1
    return runtime_kernel(
        name,
        f"tiny_{name}",
        arguments,
        infer(Attributes(), gradient),
        numbers,
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(gradient, gradient), *[None] * others],
    )


def _extents(gradient: TensorSpec, scale: Argument) -> tuple[int, int]:
    """Pixels and channels: as many as scales, so that one scale makes every number a pixel."""
    channels = int(np.prod(scale.shape))
    return gradient.elements // channels, channels


MASK_GRADIENT = define(Operator("tiny.mask_gradient", Attributes, infer, mask_meaning, mask_kernel))
SCALE_GRADIENT = define(
    Operator("tiny.scale_gradient", Attributes, infer, scale_meaning, scale_kernel)
)
MASKED_SCALE = define(
    Operator("tiny.masked_scale", Attributes, infer, masked_scale_meaning, masked_scale_kernel)
)
