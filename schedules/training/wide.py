"""What operators with wide results share: int16 before the clamp to int8.

A wide result says which outputs the clamp changes: their gradients are zero. Weights change at run
time, so nothing about sums is proved from them: whatever leaves 32 bits saturates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics, requantization
from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.requantization import RequantizeAttributes

Constant = tuple[str, Array]
HEADERS = ("tvm_tiny_dsp.h", "tvm_tiny_wide.h", "tvm_tiny_wide_scale.h")
ELEMENTWISE_SOURCES = (*HEADERS, "tvm_tiny_wide_elementwise.c")
CONVOLUTION_SOURCES = (*HEADERS, "tvm_tiny_wide_scale.c")
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
LARGEST_SHIFT = 22  # to the right, for which the runtime's usual arithmetic fits 32 bits
MOST_TAPS = (1 << 15) - 1  # twice their products with any int8 stay below 2^31


def saturate_int16(values: Array) -> Array:
    """The nearest int16."""
    return np.clip(values, INT16_MIN, INT16_MAX).astype(np.int16)


def apply(
    sums: Array, bias: Array, multiplier: Array, shift: Array, attrs: RequantizeAttributes
) -> Array:
    """The meaning: int16 of sums of products whose last axis is the channels.

    The same as `requantization.apply` gives before the clamp, wherever that is defined.
    """
    shift = shift.astype(np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    total = _saturate_int32(requantization.total(sums, bias, attrs))
    product = numerics.high_mul(_saturate_int32(total << left), multiplier)
    if attrs.fraction_bits:
        scaled = (product + (np.int64(1) << right >> 1)) >> right
    else:
        scaled = numerics.rounding_divide_by_power_of_two(product, right)
    return saturate_int16(scaled + attrs.output_zero_point)


def _saturate_int32(values: Array) -> Array:
    return np.clip(values, -numerics.INT32_LIMIT, numerics.INT32_LIMIT - 1)


def scaling_table(multiplier: Array, shift: Array) -> Constant:
    """Multiplier and shift to the right of every channel: a constant of the kernel."""
    # what is multiplied by zero may be shifted anywhere
    right = np.where(multiplier == 0, 1, -shift.astype(np.int64))
    return "scaling", np.stack([multiplier, right], axis=1).astype(np.int32)


def check_taps(taps: int) -> None:
    """Raise UnsupportedError where a sum of products could leave 32 bits."""
    if taps > MOST_TAPS:
        raise UnsupportedError(
            "a window of too many taps to train", limit=str(MOST_TAPS), found=taps
        )


def layer_table(
    attrs: Any, data: TensorSpec, output: TensorSpec, window: tuple[int, int], taps: int, tile: int
) -> Constant:
    """The runtime's tiny_wide_layer: a constant of the kernel."""
    check_taps(taps)
    numbers = [
        *data.shape,
        *output.shape[1:],
        *window,
        getattr(attrs, "groups", 1),
        *attrs.strides,
        *attrs.padding[:2],
        *attrs.dilation,
        attrs.input_zero_point,
        attrs.output_zero_point,
        attrs.fraction_bits,
        taps,
        tile,
    ]
    return "layer", np.array(numbers, np.int32)


def as_wide(spec: TensorSpec) -> TensorSpec:
    """The same shape of int16."""
    return TensorSpec(spec.shape, "int16")
