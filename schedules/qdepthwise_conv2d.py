"""tiny.qdepthwise_conv2d: int8 depthwise convolution, NHWC, weights (height, width, channels).

Meaning as in TensorFlow Lite's reference_integer_ops::DepthwiseConvPerChannel; output channel o
reads input channel o / multiplier. The kernel computes four channels of a pixel at a time, so that
border checks cost once for four channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import (
    depthwise_planes,
    helium_depthwise,
    overlaps,
    plane_depthwise,
    requantization,
)
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    Options,
    Reaches,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.instruction_order import in_orders
from tvm_tiny.schedules.requantization import (
    CHANNEL_TILE,
    DspEpilogue,
    HeliumEpilogue,
    RequantizeAttributes,
)
from tvm_tiny.schedules.window import WindowAttributes, WindowIndex, patches, reach_of


@dataclass(frozen=True)
class QDepthwiseConv2DAttributes(WindowAttributes, RequantizeAttributes, Attributes):
    """Window and requantisation."""


def infer(
    attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Argument
) -> TensorSpec:
    """(batch, out height, out width, channels x multiplier) int8."""
    height, width, channels = weight.shape
    size = attrs.output_size((data.shape[1], data.shape[2]), (height, width))
    return TensorSpec((data.shape[0], *size, channels), "int8")


def meaning(
    attrs: QDepthwiseConv2DAttributes,
    data: Array,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Array:
    """sum((x - input_zero_point) * w) + bias per channel, requantised."""
    acc = requantization.total(sums(attrs, data, weight), bias, attrs)
    return requantization.apply(acc, multiplier, shift, attrs)


def sums(attrs: QDepthwiseConv2DAttributes, data: Array, weight: Array) -> Array:
    """sum((x - input_zero_point) * w) of every output."""
    height, width, channels = weight.shape
    windows = patches(data, (height, width), attrs, attrs.input_zero_point).astype(np.int64)
    windows = np.repeat(windows - attrs.input_zero_point, channels // data.shape[3], axis=-1)
    return (windows * weight.astype(np.int64)).sum(axis=(3, 4))


def macs(attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array) -> int:
    """Output elements x taps, borders included."""
    return infer(attrs, data, weight).elements * weight.shape[0] * weight.shape[1]


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel:
    """Tiles of one pixel x four channels."""
    kernel_height, kernel_width, channels = weight.shape
    taps = weight.reshape(-1, channels).T
    bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    epilogue = requantization.Epilogue(attrs, shift, is_wide)
    batch, height, width, depth = data.shape
    output = infer(attrs, data, weight)
    _, out_height, out_width, _ = output.shape
    tile = CHANNEL_TILE if channels % CHANNEL_TILE == 0 else 1
    per_input = channels // depth
    zero_point, window = attrs.input_zero_point, WindowIndex(attrs, height, width)

    @T.prim_func(s_tir=True)
    def depthwise_conv2d(
        x: T.Buffer((batch, height, width, depth), "int8"),
        weight: T.Buffer((kernel_height, kernel_width, channels), "int8"),
        bias: T.Buffer((channels,), "int32"),
        multiplier: T.Buffer((channels,), "int32"),
        shift_table: T.Buffer((channels,), "int8"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy, ox, group in T.grid(batch, out_height, out_width, channels // tile):
            with T.sblock("tile"):
                b, v, h, g = T.axis.remap("SSSS", [n, oy, ox, group])
                acc = T.sblock_alloc_buffer((tile,), "int32")
                for j in T.unroll(tile):
                    acc[j] = 0
                for ky in range(kernel_height):
                    if window.row_is_inside(v, ky):
                        for kx in range(kernel_width):
                            if window.column_is_inside(h, kx):
                                for j in T.unroll(tile):
                                    acc[j] = acc[j] + (
                                        T.Cast(
                                            "int32",
                                            x[
                                                b,
                                                window.row(v, ky),
                                                window.column(h, kx),
                                                (g * tile + j) // per_input,
                                            ],
                                        )
                                        - zero_point
                                    ) * T.Cast("int32", weight[ky, kx, g * tile + j])
                for j in T.unroll(tile):
                    y[b, v, h, g * tile + j] = epilogue.emit(
                        acc[j], bias, multiplier, shift_table, g * tile + j
                    )

    return Kernel(
        "depthwise_conv2d",
        depthwise_conv2d,
        (
            ("weight", weight),
            ("bias", bias.astype(np.int32)),
            ("multiplier", multiplier.astype(np.int32)),
            epilogue.shift_constant,
        ),
        overlaps=(
            overlaps.windows(
                attrs,
                data,
                output,
                (kernel_height, kernel_width),
                overlaps.in_rows(output, 1),
                last=tile,
                skipped=(channels - tile) // per_input,
            ),
        ),
    )


def plane_kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel | None:
    """The kernel of plane_depthwise.py where its requantisation can do this layer's shifts."""
    taps = weight.reshape(-1, weight.shape[2]).T
    bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    if not DspEpilogue.supports_left(shift, is_wide, plane_depthwise.MAX_LEFT_SHIFT):
        return None
    epilogue, output = DspEpilogue(attrs, multiplier, shift), infer(attrs, data, weight)
    return plane_depthwise.kernel(attrs, data, output, weight, bias, epilogue)


def fast_kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    has_dsp: bool = True,
    is_single: bool = False,
    tile: int = 0,
) -> Kernel | None:
    """The kernel of depthwise_planes.py."""
    taps = weight.reshape(-1, weight.shape[2]).T
    bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    if is_wide:
        return None
    output = infer(attrs, data, weight)
    return depthwise_planes.kernel(
        attrs,
        data,
        output,
        weight,
        bias,
        multiplier,
        shift,
        has_dsp=has_dsp,
        is_single=is_single,
        tile=tile,
    )


def tile_options(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    *rest: Array,
    is_single: bool = False,
) -> list[Options]:
    """Other numbers of outputs at a time."""
    output = infer(attrs, data, weight)
    found = depthwise_planes.tiles(attrs, data, output, weight, is_single=is_single)
    return [{"tile": tile} for tile in found]


single_kernel = partial(fast_kernel, is_single=True)
single_options = partial(tile_options, is_single=True)
long_kernel = partial(fast_kernel, has_dsp=False)


def helium_kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel | None:
    """The kernel of helium_depthwise.py where its requantisation can do this layer's shifts."""
    taps = weight.reshape(-1, weight.shape[2]).T
    bias, _ = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    epilogue = HeliumEpilogue(attrs, multiplier, shift)
    if not epilogue.is_supported:
        return None
    output = infer(attrs, data, weight)
    return helium_depthwise.kernel(attrs, data, output, weight, bias, epilogue)


def reaches(
    attrs: QDepthwiseConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> Reaches:
    """Windows of the image; outside it holds the zero point."""
    return (reach_of(attrs, (weight.shape[0], weight.shape[1]), attrs.input_zero_point),)


DSP = frozenset({"dsp"})

QDEPTHWISE_CONV2D = define(
    Operator(
        "tiny.qdepthwise_conv2d",
        QDepthwiseConv2DAttributes,
        infer,
        meaning,
        kernel,
        macs,
        (
            Variant("helium", frozenset({"mve"}), helium_kernel),
            in_orders(Variant("planes", DSP, fast_kernel, tile_options)),
            in_orders(Variant("single_planes", DSP, single_kernel, single_options)),
            Variant("plane", DSP, plane_kernel),
            in_orders(Variant("long_planes", frozenset({"long"}), long_kernel)),
        ),
        reaches,
    )
)
