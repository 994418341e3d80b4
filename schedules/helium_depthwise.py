"""Depthwise convolutions on cores with Helium: a window is one run of bytes, one dot product.

A few lines of up to eight channels lie in scratch as strips whose columns are contiguous, see
runtime/tvm_tiny_helium_depthwise.h. New lines take the place of old ones, so each line of the input
is gathered once; which weight meets which byte of a window then depends on where its first line
lies, and is a table of the kernel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import numerics, overlaps, requantization
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import call
from tvm_tiny.schedules.requantization import HeliumEpilogue

if TYPE_CHECKING:
    from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes

VECTOR, CHANNELS = 16, 8  # bytes of a vector, channels at a time
TILE_COLUMNS = 4
LAYER_FIELDS = 25
LARGEST_PLACE = (1 << 16) - 1  # places in scratch and output are halves
SOURCES = (
    "tvm_tiny_mve.h",
    "tvm_tiny_helium.h",
    "tvm_tiny_helium_dense.c",
    "tvm_tiny_helium_depthwise.h",
    "tvm_tiny_helium_depthwise.c",
)


@dataclass(frozen=True)
class Shape:
    """A loop of the runtime."""

    name: str
    lines: int  # of output that a strip gives,
    columns: int  # and columns at a time
    slots: int  # lines of input that a strip holds, at least
    vectors: int  # of a window
    cost: int  # instructions of the loop
    copies: int = 1  # of a line's weights, each one column behind


SQUARE = {
    (3, 1): (Shape("3x3_s1", 2, 4, 4, 1, 28, copies=2),),
    (3, 2): (Shape("3x3_s2", 2, 4, 5, 1, 30),),
    (5, 1): (Shape("5x5_s1", 2, 4, 6, 2, 42),),
    (5, 2): (Shape("5x5_s2", 1, 4, 5, 2, 28),),
    (7, 1): (Shape("7x7_s1", 1, 4, 8, 4, 38), Shape("7x7_s1_wide", 1, 8, 8, 4, 64)),
    (7, 2): (Shape("7x7_s2", 1, 4, 8, 4, 35),),
}
UPTO = (
    Shape("upto_16", 1, 4, 0, 1, 24),
    Shape("upto_32", 1, 4, 0, 2, 32),
    Shape("upto_64", 1, 4, 0, 4, 48),
)


@dataclass(frozen=True)
class Axis:
    """The layer along one axis of the image; steps are bytes."""

    size_in: int
    size_out: int
    step_in: int
    step_out: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def span(self) -> int:
        """Lines or columns from a window's first to its last."""
        return (self.kernel - 1) * self.dilation + 1


@dataclass(frozen=True)
class Strips:
    """How an image is cut: strips of `lines`, each convolved along `columns`."""

    lines: Axis
    columns: Axis
    shape: Shape
    is_turned: bool  # whether lines are the image's columns

    @property
    def slots(self) -> int:
        """Lines that a strip holds."""
        return max(self.lines.span, self.shape.slots)

    @property
    def is_supported(self) -> bool:
        """Whether windows fit the shape's vectors, and results a strip or a tile."""
        if self.is_tiny and self.shape.columns > TILE_COLUMNS:
            return False
        fits = self.columns.span * self.slots <= self.shape.vectors * VECTOR
        return fits and not (self.is_tiny and self.columns.size_out > TILE_COLUMNS)

    @property
    def is_tiny(self) -> bool:
        """Whether a strip gives more than there is: results then go by way of a tile."""
        return self.lines.size_out < self.shape.lines or self.columns.size_out < self.shape.columns

    @property
    def number(self) -> int:
        """Strips of an image."""
        return -(-self.lines.size_out // self.shape.lines)

    @property
    def last_line(self) -> int:
        """First output line of the last strip, which computes lines again rather than too many."""
        return max(self.lines.size_out - self.shape.lines, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of a channel's strip."""
        columns = self.columns
        windows = (max(columns.size_out, self.shape.columns) - 1) * columns.stride * self.slots
        return max(
            windows + self.shape.vectors * VECTOR, (columns.padding + columns.size_in) * self.slots
        )

    @property
    def cost(self) -> int:
        """About how many instructions a channel takes."""
        times = -(-self.columns.size_out // self.shape.columns)
        return self.number * (35 + times * self.shape.cost)

    def overlap(self, data: TensorSpec, output: TensorSpec) -> Overlap | None:
        """A strip's new lines are gathered before its results are written."""
        if data.shape[3] != output.shape[3]:
            return None
        lines, numbers, shape = self.lines, np.arange(self.number), self.shape
        firsts = np.minimum(numbers * shape.lines, self.last_line) * lines.stride
        ends = firsts + self.slots - lines.padding  # of the lines that each strip has read
        last_reads = np.searchsorted(ends, np.arange(lines.size_in), "right")
        first_writes = np.arange(lines.size_out) // shape.lines
        return overlaps.in_place(
            self._by_pixel(data, np.minimum(last_reads, self.number - 1)),
            self._by_pixel(output, first_writes),
        )

    def _by_pixel(self, spec: TensorSpec, strips: Array) -> Array:
        """For each pixel the step of its line, of which every image has as many as strips."""
        steps = np.arange(spec.shape[0])[:, None, None] * self.number
        steps = steps + (strips if self.is_turned else strips[:, None])
        return np.broadcast_to(steps, spec.shape[:3]).reshape(-1)

    def tables(self) -> Array:
        """(phases, lines x copies x vectors x 16): the weight of each byte, or the zero's."""
        lines, columns, shape = self.lines, self.columns, self.shape
        zero, size = lines.kernel * columns.kernel, shape.vectors * VECTOR
        table = np.full((self.slots, shape.lines, shape.copies, size), zero, np.int8)
        taps = itertools.product(range(lines.kernel), range(columns.kernel))
        tables = itertools.product(*map(range, table.shape[:3]))
        for (ky, kx), (phase, line, copy) in itertools.product(taps, tables):
            slot = (phase + line * lines.stride + ky * lines.dilation) % self.slots
            place = (kx * columns.dilation + copy * columns.stride) * self.slots + slot
            table[phase, line, copy, place] = ky * columns.kernel + kx
        return table.reshape(self.slots, -1)

    def places(self) -> Array:
        """Four words: where results go, in the order in which narrowing leaves them."""
        line, column = (
            (TILE_COLUMNS * CHANNELS, CHANNELS)
            if self.is_tiny
            else (self.lines.step_out, self.columns.step_out)
        )
        if self.shape.lines == 2:
            places = [(i % 2 * 2 + i // 4) * column + i // 2 % 2 * line for i in range(8)]
        else:
            places = [i * column for i in range(self.shape.columns)]
        words = np.array(places, np.int64)
        return words if len(words) == 4 else words[0::2] | (words[1::2] << 16)


def _orientations(
    attrs: QDepthwiseConv2DAttributes, data: TensorSpec, output: TensorSpec, weight: Array
) -> Iterator[Strips]:
    """Rows as lines, columns as lines."""
    pixels = data.shape[3], output.shape[3]
    steps = [(data.shape[2] * pixels[0], output.shape[2] * pixels[1]), pixels]
    axes = [
        Axis(
            data.shape[1 + i],
            output.shape[1 + i],
            *steps[i],
            weight.shape[i],
            attrs.strides[i],
            attrs.padding[i],
            attrs.dilation[i],
        )
        for i in range(2)
    ]
    kernels, strides = set(weight.shape[:2]), set(attrs.strides)
    is_square = len(kernels) == len(strides) == 1 and attrs.dilation == (1, 1)
    key = (weight.shape[0], attrs.strides[0])
    for shape in SQUARE.get(key, UPTO) if is_square else UPTO:
        yield Strips(axes[0], axes[1], shape, is_turned=False)
        yield Strips(axes[1], axes[0], shape, is_turned=True)


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    epilogue: HeliumEpilogue,
) -> Kernel | None:
    """The kernel, or None for windows that are too large and several outputs of a tiny image."""
    channels, per_input = data.shape[3], output.shape[3] // data.shape[3]
    found = [s for s in _orientations(attrs, data, output, weight) if s.is_supported]
    found = [s for s in found if per_input == 1 or not s.is_tiny]
    if not found:
        return None
    strips = min(found, key=lambda strips: strips.cost)
    layer = layer_tables(attrs, strips, channels, per_input)
    far = strips.shape.columns * strips.columns.step_out + strips.lines.step_out
    if max(CHANNELS * strips.nbytes, far) > LARGEST_PLACE:
        return None
    taps = (
        (weight.transpose(1, 0, 2) if strips.is_turned else weight).reshape(-1, weight.shape[2]).T
    )
    folded = requantization.fold_zero_point(bias, taps, attrs)
    # the first output of every channel, the second one of every channel...
    order = np.arange(output.shape[3]).reshape(channels, per_input).T.reshape(-1)
    constants = (
        ("layer", layer),
        ("tables", strips.tables()),
        ("weight", np.pad(taps, ((0, 0), (0, 1)))[order]),
        ("params", epilogue.table(folded)[order]),
    )
    scratch = min(CHANNELS, channels) * strips.nbytes
    scratch += CHANNELS * TILE_COLUMNS * strips.shape.lines if strips.is_tiny else 0
    function = _function(attrs, strips, data, output, epilogue)
    return Kernel(
        "depthwise_conv2d",
        function,
        constants,
        TensorSpec((scratch,), "int8"),
        SOURCES,
        overlaps=(strips.overlap(data, output),),
    )


def layer_tables(
    attrs: QDepthwiseConv2DAttributes, strips: Strips, channels: int, per_input: int
) -> Array:
    """Rows of `_layer_table`: of a group of channels, and of the last one where that has fewer."""
    counts = [min(channels, CHANNELS)]
    if channels > CHANNELS and channels % CHANNELS:
        counts.append(channels % CHANNELS)
    return np.stack([_layer_table(attrs, strips, count, per_input) for count in counts])


def _layer_table(
    attrs: QDepthwiseConv2DAttributes, strips: Strips, channels: int, per_input: int
) -> Array:
    """What the loops read: see `enum` in runtime/tvm_tiny_helium_depthwise.h."""
    lines, columns = strips.lines, strips.columns
    at_once, step_in = strips.shape.columns, columns.stride * strips.slots
    back = -columns.size_out % at_once if columns.size_out > at_once else 0
    fields = (
        lines.kernel * columns.kernel + 1,
        max(columns.size_out // at_once, 1),
        back * step_in,
        back * columns.step_out,
        at_once * columns.step_out,
        attrs.output_zero_point,
        channels,
        step_in,
        *strips.places(),
        strips.slots,
        lines.size_in,
        columns.size_in,
        lines.step_in,
        columns.step_in,
        lines.padding,
        columns.padding,
        strips.shape.lines * lines.stride,
        strips.last_line * lines.stride,
        *np.full(8, attrs.input_zero_point, np.int8).view(np.int32),
        strips.nbytes,
        per_input,
    )
    return (np.array(fields, np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _function(
    attrs: QDepthwiseConv2DAttributes,
    strips: Strips,
    data: TensorSpec,
    output: TensorSpec,
    epilogue: HeliumEpilogue,
) -> tirx.PrimFunc:
    batch, channels, outputs = data.shape[0], data.shape[3], output.shape[3]
    in_image, out_image = data.elements // batch, output.elements // batch
    groups, group = -(-channels // CHANNELS), min(channels, CHANNELS)
    per_input = outputs // channels
    steps = _Steps(attrs, strips, data, output)
    name = f"tiny_strip_{strips.shape.name}_{epilogue.way}"
    rows = len(layer_tables(attrs, strips, channels, per_input))
    table_bytes = strips.tables().shape[1]
    taps = strips.lines.kernel * strips.columns.kernel + 1
    tile_at = group * strips.nbytes
    size = tile_at + (CHANNELS * TILE_COLUMNS * strips.shape.lines if strips.is_tiny else 0)

    @T.prim_func(s_tir=True)
    def depthwise_conv2d(
        x: T.Buffer((batch, in_image), "int8"),
        layer: T.Buffer((rows, LAYER_FIELDS), "int32"),
        tables: T.Buffer((strips.slots, table_bytes), "int8"),
        weight: T.Buffer((outputs, taps), "int8"),
        params: T.Buffer((outputs, HeliumEpilogue.FIELDS), "int32"),
        scratch: T.Buffer((size,), "int8"),
        y: T.Buffer((batch, out_image), "int8"),
    ):
        T.evaluate(call("tiny_strip_fill", layer[0, 0], scratch[0]))
        for n, g, s in T.grid(batch, groups, strips.number):
            T.evaluate(
                call(
                    "tiny_strip_lines",
                    layer[0, 0],
                    x[n, steps.first_read(g)],
                    s,
                    scratch[0],
                )
            )
            for j in range(per_input):
                T.evaluate(
                    call(
                        name,
                        layer[steps.table(g), 0],
                        scratch[(g * CHANNELS - steps.first_read(g)) * strips.nbytes],
                        tables[steps.phase(s), 0],
                        scratch[tile_at]
                        if strips.is_tiny
                        else y[n, steps.place(s) + g * (CHANNELS * per_input) + j],
                        weight[j * channels + g * CHANNELS, 0],
                        params[j * channels + g * CHANNELS, 0],
                    )
                )
            T.evaluate(
                steps.close_up(
                    layer[steps.table(g), 0],
                    scratch[tile_at if strips.is_tiny else 0],
                    y[n, steps.place(s) + g * CHANNELS],
                )
            )
        T.evaluate(steps.clamp(y[0, 0]))

    return depthwise_conv2d


@dataclass(frozen=True)
class _Steps:
    """Expressions of the numbers of a group of channels and of a strip.

    The last group reads eight channels too, those before it once more, but writes its own only.
    """

    attrs: QDepthwiseConv2DAttributes
    strips: Strips
    data: TensorSpec
    output: TensorSpec

    def first_read(self, group: tirx.Expr) -> tirx.Expr:
        """The first channel that a group reads."""
        channels = self.data.shape[3]
        return T.min(group * CHANNELS, max(channels - CHANNELS, 0))

    def table(self, group: tirx.Expr) -> tirx.Expr:
        """The row of its layer table."""
        channels = self.data.shape[3]
        if channels <= CHANNELS or channels % CHANNELS == 0:
            return T.int32(0)
        return T.if_then_else(group == channels // CHANNELS, 1, 0)

    def line(self, number: tirx.Expr) -> tirx.Expr:
        """Its first line of output."""
        strips = self.strips
        line = number * strips.shape.lines
        is_whole = strips.lines.size_out % strips.shape.lines == 0
        return line if is_whole else T.min(line, strips.last_line)

    def phase(self, number: tirx.Expr) -> tirx.Expr:
        """The slot of its first line of input."""
        return self.line(number) * self.strips.lines.stride % self.strips.slots

    def place(self, number: tirx.Expr) -> tirx.Expr:
        """Where its output begins."""
        return self.line(number) * self.strips.lines.step_out

    def close_up(self, layer: tirx.Expr, tile: tirx.Expr, y: tirx.Expr) -> tirx.Expr:
        """The tile from scratch to where it belongs."""
        lines, columns = self.strips.lines, self.strips.columns
        if not self.strips.is_tiny:
            return T.int32(0)
        sizes = (min(self.strips.shape.lines, lines.size_out), columns.size_out)
        name, steps = "tiny_strip_close_up", (lines.step_out, columns.step_out)
        return call(name, layer, tile, *sizes, *steps, y)

    def clamp(self, first: tirx.Expr) -> tirx.Expr:
        """What is left to clamp when the loops have saturated to int8."""
        low, high = self.attrs.clamp_min, self.attrs.clamp_max
        if (low, high) == (numerics.INT8_MIN, numerics.INT8_MAX):
            return T.int32(0)
        return call("tiny_helium_clamp", first, self.output.elements, low, high)
