"""tiny.qconv2d: int8 convolution, NHWC activations, OHWI weights, any groups.

Meaning as in TensorFlow Lite's reference_integer_ops::ConvPerChannel. The kernel computes a tile
of output pixels x 4 output channels in registers: every activation that is loaded serves four
channels, every weight all pixels of the tile, and requantisation follows at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import (
    helium_conv,
    long_conv,
    loop_forms,
    overlaps,
    packed_conv,
    pair_conv,
    requantization,
    winograd_conv,
)
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    Options,
    Overlap,
    Reaches,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.instruction_order import in_orders
from tvm_tiny.schedules.requantization import (
    CHANNEL_TILE,
    Epilogue,
    HeliumEpilogue,
    RequantizeAttributes,
)
from tvm_tiny.schedules.window import WindowAttributes, WindowIndex, patches, reach_of

MADE = "made"  # a tile of Helium's whose code is the layer's own


@dataclass(frozen=True)
class QConv2DAttributes(WindowAttributes, RequantizeAttributes, Attributes):
    """Window, requantisation and the number of groups."""

    groups: int = 1


def infer(attrs: QConv2DAttributes, data: TensorSpec, weight: Argument, *rest: Array) -> TensorSpec:
    """(batch, out height, out width, output channels) int8."""
    channels, *kernel_size, _ = weight.shape
    size = attrs.output_size((data.shape[1], data.shape[2]), (kernel_size[0], kernel_size[1]))
    return TensorSpec((data.shape[0], *size, channels), "int8")


def meaning(
    attrs: QConv2DAttributes,
    data: Array,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Array:
    """sum((x - input_zero_point) * w) + bias per output channel, requantised."""
    acc = requantization.total(sums(attrs, data, weight), bias, attrs)
    return requantization.apply(acc, multiplier, shift, attrs)


def sums(attrs: QConv2DAttributes, data: Array, weight: Array) -> Array:
    """sum((x - input_zero_point) * w) of every output."""
    output_channels, height, width, depth = weight.shape
    windows = patches(data, (height, width), attrs, attrs.input_zero_point).astype(np.int64)
    windows = windows - attrs.input_zero_point
    split = windows.reshape(*windows.shape[:-1], attrs.groups, depth)
    kernels = weight.astype(np.int64).reshape(attrs.groups, -1, height, width, depth)
    # float64 holds every product sum exactly (bounded by check_accumulator) and is fast.
    acc = np.einsum("nyxhwgc,gohwc->nyxgo", split.astype(np.float64), kernels.astype(np.float64))
    return acc.reshape(*acc.shape[:3], output_channels).astype(np.int64)


def macs(attrs: QConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array) -> int:
    """Output elements x taps, borders included."""
    return infer(attrs, data, weight).elements * int(np.prod(weight.shape[1:]))


def turned(
    attrs: QConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array
) -> tuple[QConv2DAttributes, list[Argument]]:
    """Columns as rows, along which tiles lie, if input, windows and output are a pixel wide."""
    top, left, bottom, right = attrs.padding
    is_column = data.shape[2] == weight.shape[2] == 1 < data.shape[1]
    if not is_column or left or right:
        return attrs, [data, weight, *rest]
    batch, height, width, depth = data.shape
    as_row = replace(
        attrs,
        strides=attrs.strides[::-1],
        padding=(left, top, right, bottom),
        dilation=attrs.dilation[::-1],
    )
    row = TensorSpec((batch, width, height, depth), data.dtype)
    return as_row, [row, weight.swapaxes(1, 2), *rest]


def kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
) -> Kernel:
    """Pointwise convolutions run over flat pixels; all others check each tap's row and column."""
    taps = weight.reshape(len(weight), -1)
    bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    epilogue = Epilogue(attrs, shift, is_wide)
    per_group = len(weight) // attrs.groups
    # A tile must not straddle groups; odd group sizes fall back to one channel at a time.
    tile = CHANNEL_TILE if attrs.groups == 1 or per_group % CHANNEL_TILE == 0 else 1
    output = infer(attrs, data, weight)
    is_pointwise = weight.shape[1:3] == (1, 1) and attrs.strides == (1, 1) and attrs.groups == 1
    if is_pointwise and not attrs.is_padded:
        function = _pointwise(data, output, epilogue)
        bias = requantization.fold_zero_point(bias, weight, attrs)
    else:
        function = _windowed(attrs, data, output, weight.shape, epilogue, tile)
    return Kernel(
        "conv2d_1x1" if is_pointwise and not attrs.is_padded else "conv2d",
        function,
        (
            ("weight", requantization.interleave(weight, tile)),
            ("bias", bias.astype(np.int32)),
            ("multiplier", multiplier.astype(np.int32)),
            epilogue.shift_constant,
        ),
        overlaps=(_overlap(attrs, data, output, weight, tile),),
    )


def _overlap(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    tile: int,
) -> Overlap | None:
    """Two pixels or one, `tile` channels at a time."""
    kernel, pixels = weight.shape[1:3], overlaps.in_rows(output, 1)
    if kernel == (1, 1) and len(pixels) % 2 == 0:
        pixels = pixels.reshape(-1, 2)
    last = (output.shape[3] - 1) % tile + 1
    return overlaps.windows(attrs, data, output, kernel, pixels, last)


def _pointwise(data: TensorSpec, output: TensorSpec, epilogue: Epilogue) -> tirx.PrimFunc:
    pixels, depth = data.elements // data.shape[-1], data.shape[-1]
    channels = output.shape[-1]
    groups, rows = -(-channels // CHANNEL_TILE), 2 if pixels % 2 == 0 else 1

    @T.prim_func(s_tir=True)
    def conv2d_1x1(
        x: T.Buffer((pixels, depth), "int8"),
        weight: T.Buffer((groups, depth, CHANNEL_TILE), "int8"),
        bias: T.Buffer((channels,), "int32"),
        multiplier: T.Buffer((channels,), "int32"),
        shift_table: T.Buffer((channels,), "int8"),
        y: T.Buffer((pixels, channels), "int8"),
    ):
        for row, group in T.grid(pixels // rows, groups):
            with T.sblock("tile"):
                p, g = T.axis.remap("SS", [row, group])
                acc = T.sblock_alloc_buffer((rows, CHANNEL_TILE), "int32")
                for i in T.unroll(rows):
                    for j in T.unroll(CHANNEL_TILE):
                        acc[i, j] = 0
                for c in range(depth):
                    for i in T.unroll(rows):
                        for j in T.unroll(CHANNEL_TILE):
                            acc[i, j] = acc[i, j] + T.Cast("int32", x[p * rows + i, c]) * T.Cast(
                                "int32", weight[g, c, j]
                            )
                for i in T.unroll(rows):
                    for j in T.unroll(CHANNEL_TILE):
                        if g * CHANNEL_TILE + j < channels:
                            y[p * rows + i, g * CHANNEL_TILE + j] = epilogue.emit(
                                acc[i, j],
                                bias,
                                multiplier,
                                shift_table,
                                g * CHANNEL_TILE + j,
                            )

    return conv2d_1x1


def _windowed(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight_shape: tuple[int, ...],
    epilogue: Epilogue,
    tile: int,
) -> tirx.PrimFunc:
    batch, height, width, depth_in = data.shape
    _, out_height, out_width, channels = output.shape
    _, kernel_height, kernel_width, depth = weight_shape
    groups = -(-channels // tile)
    per_group = channels // attrs.groups
    zero_point, window = attrs.input_zero_point, WindowIndex(attrs, height, width)

    @T.prim_func(s_tir=True)
    def conv2d(
        x: T.Buffer((batch, height, width, depth_in), "int8"),
        weight: T.Buffer((groups, kernel_height, kernel_width, depth, tile), "int8"),
        bias: T.Buffer((channels,), "int32"),
        multiplier: T.Buffer((channels,), "int32"),
        shift_table: T.Buffer((channels,), "int8"),
        y: T.Buffer((batch, out_height, out_width, channels), "int8"),
    ):
        for n, oy, ox, group in T.grid(batch, out_height, out_width, groups):
            with T.sblock("tile"):
                b, v, h, g = T.axis.remap("SSSS", [n, oy, ox, group])
                acc = T.sblock_alloc_buffer((tile,), "int32")
                for j in T.unroll(tile):
                    acc[j] = 0
                for ky in range(kernel_height):
                    if window.row_is_inside(v, ky):
                        for kx in range(kernel_width):
                            if window.column_is_inside(h, kx):
                                for c in range(depth):
                                    for j in T.unroll(tile):
                                        acc[j] = acc[j] + (
                                            T.Cast(
                                                "int32",
                                                x[
                                                    b,
                                                    window.row(v, ky),
                                                    window.column(h, kx),
                                                    g * tile // per_group * depth + c,
                                                ],
                                            )
                                            - zero_point
                                        ) * T.Cast("int32", weight[g, ky, kx, c, j])
                for j in T.unroll(tile):
                    if g * tile + j < channels:
                        y[b, v, h, g * tile + j] = epilogue.emit(
                            acc[j], bias, multiplier, shift_table, g * tile + j
                        )

    return conv2d


def bounded(make: Callable[..., Kernel | None]) -> Callable[..., Kernel | None]:
    """A variant of layers whose sums stay below 2^30; `make` takes the output behind the input."""

    def variant(
        attrs: QConv2DAttributes,
        data: TensorSpec,
        weight: Array,
        bias: Array,
        multiplier: Array,
        shift: Array,
        **options: Any,
    ) -> Kernel | None:
        taps = weight.reshape(len(weight), -1)
        bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
        output = infer(attrs, data, weight)
        if is_wide:
            return None
        return make(attrs, data, output, weight, bias, multiplier, shift, **options)

    return variant


DSP = frozenset({"dsp"})

square_kernel = bounded(winograd_conv.square_kernel)
line_kernel = bounded(winograd_conv.line_kernel)
packed_kernel = bounded(packed_conv.kernel)
long_kernel = bounded(long_conv.kernel)
long_words_kernel = bounded(long_conv.words_kernel)


def pair_kernel(
    attrs: QConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array, **options: Any
) -> Kernel | None:
    """The kernel of pair_conv.py, for layers of one pixel only where packing is impossible."""
    output = infer(attrs, data, weight)
    is_pixel = output.shape[1] * output.shape[2] == 1
    if is_pixel and packed_kernel(attrs, data, weight, *rest) is not None:
        return None
    return bounded(pair_conv.kernel)(attrs, data, weight, *rest, **options)


tile_options = loop_forms.of_tiles(infer)


def helium_kernel(
    attrs: QConv2DAttributes,
    data: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    tile: str = "",
) -> Kernel | None:
    """The kernel of helium_conv.py where its requantisation can do this layer's shifts.

    A tile that is `MADE` has an inner loop for this layer alone.
    """
    taps = weight.reshape(len(weight), -1)
    bias, _ = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    epilogue = HeliumEpilogue(attrs, multiplier, shift)
    if not epilogue.is_supported:
        return None
    output = infer(attrs, data, weight)
    is_made = tile == MADE
    return helium_conv.kernel(attrs, data, output, weight, bias, epilogue, is_made=is_made)


def helium_options(attrs: QConv2DAttributes, data: TensorSpec, *rest: Array) -> list[Options]:
    """An inner loop made for the layer."""
    return [{"tile": MADE}]


def reaches(attrs: QConv2DAttributes, data: TensorSpec, weight: Array, *rest: Array) -> Reaches:
    """Windows of the image; outside it holds the zero point."""
    return (reach_of(attrs, (weight.shape[1], weight.shape[2]), attrs.input_zero_point),)


QCONV2D = define(
    Operator(
        "tiny.qconv2d",
        QConv2DAttributes,
        infer,
        meaning,
        kernel,
        macs,
        (
            Variant("helium", frozenset({"mve"}), helium_kernel, helium_options),
            in_orders(Variant("winograd", DSP, square_kernel, loop_forms.of_squares)),
            in_orders(Variant("winograd_lines", DSP, line_kernel, loop_forms.of_lines)),
            in_orders(Variant("pairs", DSP, pair_kernel, tile_options)),
            in_orders(Variant("packed", DSP, packed_kernel, tile_options)),
            in_orders(Variant("long_words", frozenset({"long"}), long_words_kernel)),
            in_orders(Variant("long", frozenset({"long"}), long_kernel)),
        ),
        reaches,
        turned,
    )
)
