"""tiny.mask_gradient, tiny.scale_gradient, and both fused: tiny.masked_scale.

A layer's clamp lets a gradient pass where the value lay within; its rescaling multiplies it by one
real number for each channel. A scale is float32, or int32 rows of (multiplier, shift to the right),
which stand for multiplier * 2^(-31 - right): the layer's own, which then stand once in the Flash.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from tvm_tiny.schedules.runtime_kernel import Named, runtime_kernel
from tvm_tiny.schedules.training.float_steps import BACKWARD_SOURCES


@dataclass(frozen=True)
class ScaleAttributes(Attributes):
    """What the scale is multiplied by."""

    factor: float = 1.0


def real_scale(scale: Array, factor: float = 1.0) -> Array:
    """The scale as float32, by channel."""
    if scale.dtype == np.int32:
        scale = np.ldexp(scale[:, 0].astype(np.float32), -31 - scale[:, 1])
    return scale.astype(np.float32) * np.float32(factor)


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


def scale_meaning(attrs: ScaleAttributes, gradient: Array, scale: Array) -> Array:
    """gradient * scale of the last axis, or of all."""
    with np.errstate(all="ignore"):
        return gradient * real_scale(scale, attrs.factor)


def masked_scale_meaning(
    attrs: ScaleAttributes, gradient: Array, mask: Array, scale: Array
) -> Array:
    """gradient * scale where the bit of the mask is set, else 0."""
    return mask_meaning(attrs, scale_meaning(attrs, gradient, scale), mask)


def mask_kernel(attrs: Attributes, gradient: TensorSpec, mask: TensorSpec) -> Kernel:
    """One pass over the elements."""
    named: list[Named] = [("gradient", gradient), ("mask", mask)]
    return _kernel("mask_gradient", gradient, named, [gradient.elements])


def scale_kernel(attrs: ScaleAttributes, gradient: TensorSpec, scale: Argument) -> Kernel:
    """One pass over the pixels."""
    named: list[Named] = [("gradient", gradient)]
    return _scale_kernel("scale_gradient", attrs, gradient, named, scale)


def masked_scale_kernel(
    attrs: ScaleAttributes, gradient: TensorSpec, mask: TensorSpec, scale: Argument
) -> Kernel:
    """One pass over the pixels."""
    named: list[Named] = [("gradient", gradient), ("mask", mask)]
    return _scale_kernel("masked_scale", attrs, gradient, named, scale)


def _scale_kernel(
    name: str,
    attrs: ScaleAttributes,
    gradient: TensorSpec,
    arguments: list[Named],
    scale: Argument,
) -> Kernel:
    """Rows become floats in scratch first."""
    if isinstance(scale, TensorSpec) or scale.dtype != np.int32:
        if not isinstance(scale, TensorSpec):
            scale = real_scale(scale, attrs.factor)
        return _kernel(name, gradient, [*arguments, ("scale", scale)], _extents(gradient, scale))
    channels = len(scale)
    numbers = (gradient.elements // channels, channels)
    factor = ("factor", np.array([attrs.factor], np.float32))
    scratch = TensorSpec((channels,), "float32")
    return _kernel(
        f"{name}_by_rows",
        gradient,
        [*arguments, ("scaling", scale), factor],
        numbers,
        scratch,
    )


def _kernel(
    name: str,
    gradient: TensorSpec,
    arguments: Sequence[Named],
    numbers: Sequence[int],
    scratch: TensorSpec | None = None,
) -> Kernel:
    others = sum(isinstance(argument, TensorSpec) for _, argument in arguments) - 1
    return runtime_kernel(
        name,
        f"tiny_{name}",
        arguments,
        infer(Attributes(), gradient),
        numbers,
        scratch=scratch,
        sources=BACKWARD_SOURCES,
        overlaps=[overlaps.elements(gradient, gradient), *[None] * others],
    )


def _extents(gradient: TensorSpec, scale: Argument) -> tuple[int, int]:
    """Pixels and channels: as many as scales, so that one scale makes every number a pixel."""
    channels = int(np.prod(scale.shape))
    return gradient.elements // channels, channels


MASK_GRADIENT = define(Operator("tiny.mask_gradient", Attributes, infer, mask_meaning, mask_kernel))
SCALE_GRADIENT = define(
    Operator("tiny.scale_gradient", ScaleAttributes, infer, scale_meaning, scale_kernel)
)
MASKED_SCALE = define(
    Operator("tiny.masked_scale", ScaleAttributes, infer, masked_scale_meaning, masked_scale_kernel)
)
