"""Rules for convolutions and dense layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from tvm_tiny.relay_passes._islands import (
    Island,
    fixed_point,
    four_sides,
    from_nhwc,
    pair,
    to_nhwc,
)
from tvm_tiny.relay_passes._quantized import Quantized, constant
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]


FRACTION_BITS = 7  # of a bias, below the unit of a sum; what the fast kernels know
LARGEST_REAL = 1.0  # a larger factor would have to shift to the left


@dataclass(frozen=True, eq=False)
class ChannelScaling:
    """Multipliers and shifts of a layer's channels, and how many fraction bits its bias has."""

    multiplier: Array
    shift: Array
    fraction_bits: int

    @property
    def constants(self) -> tuple[ir.Expr, ir.Expr]:
        """As arguments of a call."""
        return constant(self.multiplier), constant(self.shift)


def channel_scaling(walk: Walk, reals: Array, taps: Array, zero_point: int) -> ChannelScaling:
    """As TensorFlow Lite has it; else with a bias so fine that one rounding is left.

    `taps` is (channels, taps): where sums could not hold the fraction too, the multiplier takes in
    its shift instead.
    """
    reals = np.broadcast_to(reals, (len(taps),))
    reach = max(numerics.INT8_MAX - zero_point, zero_point - numerics.INT8_MIN)
    largest = np.abs(taps.astype(np.int64)).sum(axis=1).max() * reach
    fits = largest << FRACTION_BITS < 1 << 29 and np.all(np.abs(reals) < LARGEST_REAL)
    if walk.source == "tflite" or not fits:
        return ChannelScaling(*fixed_point(walk, reals), 0)
    multiplier, shift = numerics.quantize_multiplier(reals)
    return ChannelScaling(multiplier, np.maximum(shift - FRACTION_BITS, -30), FRACTION_BITS)


def _bias(
    walk: Walk, bias: ir.Expr | None, unit: Array, channels: int, fraction_bits: int
) -> Array | None:
    """The bias in units of input scale x weight scale x 2^-fraction_bits; None if not constant."""
    unit = unit / 2.0**fraction_bits
    if bias is None:
        return np.zeros(channels, np.int32)
    known = walk.quantized_of(bias)
    if known is not None and known.is_constant and known.integers.size == channels:
        integers = known.integers.reshape(-1).astype(np.int64) - known.zero_point
        same_unit = np.allclose(known.scale, unit * 2.0**fraction_bits, rtol=1e-5, atol=0)
        if known.integers.dtype == np.int32 and same_unit:
            return _to_int32(integers << fraction_bits)
        values = known.values.reshape(-1).astype(np.float64)
    else:
        plain = _constant_value(walk, bias)
        if plain is None or plain.size not in (1, channels):
            return None
        values = np.broadcast_to(plain.reshape(-1), (channels,)).astype(np.float64)
    return _to_int32(np.round(values / unit))


def _to_int32(values: Array) -> Array:
    return np.clip(values, -(1 << 31), (1 << 31) - 1).astype(np.int32)


def _constant_value(walk: Walk, expr: ir.Expr) -> Array | None:
    """The array of a constant, looked at through reshapes and dequantisation."""
    known = walk.quantized_of(expr)
    if known is not None:
        return known.values if known.is_constant else None
    value = walk.value_of(expr)
    if isinstance(value, ir.GenericConst):
        return value.value.numpy()
    if isinstance(value, ir.Call) and value.op.name in ("relax.reshape", "relax.expand_dims"):
        return _constant_value(walk, value.args[0])
    return None


def _operands(walk: Walk, core: ir.Call) -> tuple[Quantized, Quantized] | None:
    data, weight = (walk.quantized_of(argument) for argument in core.args[:2])
    if data is None or weight is None or not weight.is_constant or weight.zero_point != 0:
        return None
    return (data, weight) if data.scale.size == 1 else None


def _conv2d(walk: Walk, island: Island) -> ir.Expr | None:
    operands = _operands(walk, island.core)
    if operands is None:
        return None
    data, weight = operands
    attrs = island.core.attrs
    integers = _to_ohwi(weight.integers, str(attrs.kernel_layout))
    channels, groups = len(integers), int(attrs.groups)
    unit = np.float64(data.scalar_scale) * weight.scale.astype(np.float64)
    reals, taps = unit / island.output.scalar_scale, integers.reshape(channels, -1)
    scaling = channel_scaling(walk, reals, taps, data.zero_point)
    bias = _bias(walk, island.bias, unit, channels, scaling.fraction_bits)
    if bias is None:
        return None
    window: dict[str, Any] = {
        "strides": pair(attrs.strides),
        "padding": four_sides(attrs.padding),
        "dilation": pair(attrs.dilation),
    }
    requantization = requantization_fields(data, island, scaling)
    x, is_nchw = to_nhwc(walk, data.expr, str(attrs.data_layout))
    depth = int(x.ty.shape[3])
    tail = (constant(bias), *scaling.constants)
    if groups == depth > 1 and integers.shape[3] == 1:
        taps = constant(np.moveaxis(integers[..., 0], 0, -1))
        call = QDEPTHWISE_CONV2D(
            QDepthwiseConv2DAttributes(**requantization, **window), x, taps, *tail
        )
    else:
        call = QCONV2D(
            QConv2DAttributes(**requantization, **window, groups=groups),
            x,
            constant(integers),
            *tail,
        )
    return from_nhwc(walk, call, is_nchw)


def _to_ohwi(weight: Array, layout: str) -> Array:
    # In HWOI the output channels of a depthwise convolution stand before a depth of one.
    return weight.transpose([layout.index(axis) for axis in "OHWI"])


def requantization_fields(
    data: Quantized, island: Island, scaling: ChannelScaling
) -> dict[str, Any]:
    low, high = island.clamp
    return {
        "input_zero_point": data.zero_point,
        "output_zero_point": island.output.zero_point,
        "clamp_min": low,
        "clamp_max": high,
        "fraction_bits": scaling.fraction_bits,
        "input_scale": data.scalar_scale,
        "output_scale": island.output.scalar_scale,
    }


def _matmul(walk: Walk, island: Island) -> ir.Expr | None:
    operands = _operands(walk, island.core)
    if operands is None or operands[1].integers.ndim != 2:
        return None
    data, weight = operands
    integers = weight.integers.T
    channels = len(integers)
    # TensorFlow Lite multiplies the two scales in float32 here, unlike in convolutions.
    unit = (np.float32(data.scalar_scale) * weight.scale.astype(np.float32)).astype(np.float64)
    reals = unit / island.output.scalar_scale
    scaling = channel_scaling(walk, reals, integers, data.zero_point)
    bias = _bias(walk, island.bias, unit, channels, scaling.fraction_bits)
    if bias is None:
        return None
    attrs = QDenseAttributes(**requantization_fields(data, island, scaling))
    return QDENSE(attrs, data.expr, constant(integers), constant(bias), *scaling.constants)


LINEAR: dict[str, Callable[[Walk, Island], ir.Expr | None]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
}
