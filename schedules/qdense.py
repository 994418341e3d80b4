"""tiny.qdense: int8 fully connected layer, data (..., depth), weights (channels, depth).

Meaning as in TensorFlow Lite Micro's FullyConnected (double rounding, unlike LiteRT's). A dense
layer is a pointwise convolution over its rows, and shares that kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_tiny.schedules import qconv2d, requantization
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    Options,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.instruction_order import in_orders
from tvm_tiny.schedules.requantization import RequantizeAttributes


@dataclass(frozen=True)
class QDenseAttributes(RequantizeAttributes, Attributes):
    """Requantisation only."""


def infer(attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array) -> TensorSpec:
    """(..., channels) int8."""
    return TensorSpec((*data.shape[:-1], len(weight)), "int8")


def meaning(
    attrs: QDenseAttributes,
    data: Array,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Array:
    """sum((x - input_zero_point) * w) + bias per channel, requantised."""
    sums = (data.astype(np.int64) - attrs.input_zero_point) @ weight.astype(np.int64).T
    acc = requantization.total(sums, bias, attrs)
    return requantization.apply(acc, multiplier, shift, attrs)


def macs(attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array) -> int:
    """Rows x weights."""
    return data.elements // data.shape[-1] * int(weight.size)


def kernel(attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array) -> Kernel:
    """The pointwise convolution's kernel over (1, rows, 1, depth)."""
    return qconv2d.kernel(*_as_convolution(attrs, data, weight), *rest)


def packed_kernel(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array, **options: Any
) -> Kernel | None:
    """The same for cores with DSP instructions."""
    return qconv2d.packed_kernel(*_as_convolution(attrs, data, weight), *rest, **options)


def packed_options(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> Sequence[Options]:
    """Other loops of it."""
    return qconv2d.tile_options(*_as_convolution(attrs, data, weight), *rest)


def long_kernel(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> Kernel | None:
    """The same for cores with long multiplies."""
    return qconv2d.long_kernel(*_as_convolution(attrs, data, weight), *rest)


def long_words_kernel(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> Kernel | None:
    """The same, two bytes for a weight."""
    return qconv2d.long_words_kernel(*_as_convolution(attrs, data, weight), *rest)


def helium_kernel(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> Kernel | None:
    """The same for cores with Helium."""
    return qconv2d.helium_kernel(*_as_convolution(attrs, data, weight), *rest)


def _as_convolution(
    attrs: QDenseAttributes, data: TensorSpec, weight: Array
) -> tuple[qconv2d.QConv2DAttributes, TensorSpec, Array]:
    rows, depth = data.elements // data.shape[-1], data.shape[-1]
    window: dict[str, Any] = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    return (
        qconv2d.QConv2DAttributes(**window, **attrs.as_dict()),
        TensorSpec((1, rows, 1, depth), "int8"),
        weight.reshape(len(weight), 1, 1, depth),
    )


QDENSE = define(
    Operator(
        "tiny.qdense",
        QDenseAttributes,
        infer,
        meaning,
        kernel,
        macs,
        (
            Variant("helium", frozenset({"mve"}), helium_kernel),
            in_orders(Variant("packed", frozenset({"dsp"}), packed_kernel, packed_options)),
            in_orders(Variant("long_words", frozenset({"long"}), long_words_kernel)),
            in_orders(Variant("long", frozenset({"long"}), long_kernel)),
        ),
    )
)
