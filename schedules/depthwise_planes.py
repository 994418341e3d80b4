"""Depthwise convolutions on cores with DSP instructions or long multiplies, one channel at a time.

Each channel is gathered from NHWC into a plane in scratch (planes.py; plane_couples.py gathers two
at once), convolved there with its weights and parameters in registers, and written back in place of
its bytes. Small windows and strides above one take pairs of halves (depthwise_pairs.py), all other
windows polynomials if they can. Dilated windows see sorted columns (depthwise_phases.py), tall
windows columns as rows; several outputs of a channel share what is gathered. Cores without DSP
instructions have polynomials alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import (
    depthwise_pairs,
    depthwise_polynomials,
    long_scaling,
    overlaps,
    plane_couples,
    scaling,
)
from tvm_tiny.schedules.depthwise_pairs import Outputs
from tvm_tiny.schedules.depthwise_phases import Phases
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.planes import LARGEST_OFFSET, Plane, gather_microkernel
from tvm_tiny.schedules.requantization import Clamp
from tvm_tiny.schedules.scaling import Floored, Scaling

if TYPE_CHECKING:
    from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_planes.c", "tvm_tiny_planes.h")
LARGEST_SHORT = 5  # rows of words, and one more for each row
LARGEST_TABLE = 200  # words of weights, which lie on the stack
LARGEST_PAIR_OFFSET = 1020  # of LDRD
OUTPUTS_OF_TILE, OUTPUTS_IN_REACH = 8, 4
LARGEST_VARIETY = 4  # of shifts that have functions of their own
SMALL_TILES, PAIR_TILES, POLYNOMIAL_TILES = (4, 8, 24), (4, 6, 8), (1, 2, 3)  # other ones
LARGEST_STEP = 2  # from window to window, of polynomials


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    has_dsp: bool = True,
    is_single: bool = False,
    tile: int = 0,
) -> Kernel | None:
    """The kernel; None for large windows, far offsets, and arithmetic that does not fit.

    It gathers two channels at once if it can. `is_single` is one at a time, with half the scratch;
    None where that is the same. A `tile` is one of `tiles`.
    """
    job = _job(attrs, data, output, weight, has_dsp, is_single, tile)
    taps = weight.reshape(-1, weight.shape[2]).T
    layer = scaling.layer_of(attrs, taps, bias, multiplier, shift)
    found = _kernel_of(job, layer) if job.is_supported else None
    if found is None and job.is_polynomial and has_dsp:
        job = replace(job, has_halves=True)
        found = _kernel_of(job, layer) if job.is_supported else None
    return found


def tiles(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    *,
    has_dsp: bool = True,
    is_single: bool = False,
) -> list[int]:
    """Outputs at a time, other than the usual ones, that a kernel may be made with."""
    job = _job(attrs, data, output, weight, has_dsp, is_single)
    if not job.is_supported or job.phases.number > 1:
        return []
    width = job.phases.widths[0]
    known = POLYNOMIAL_TILES if job.is_polynomial else PAIR_TILES
    known = SMALL_TILES if job.is_small else known
    reach = LARGEST_OFFSET // job.output_step
    return [tile for tile in known if tile <= min(width, reach)]


def _job(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    has_dsp: bool,
    is_single: bool,
    tile: int = 0,
) -> _Job:
    job = _Job(attrs, data, output, weight, has_dsp, is_single=is_single, tile=tile)
    return job.turned if job.is_better_turned else job


def _kernel_of(job: _Job, layer: scaling.Layer) -> Kernel | None:
    if job.is_single and not job.has_couples:
        return None
    form = _form(job, layer)
    if form is None or (job.is_polynomial and not depthwise_polynomials.fits(job.weight)):
        return None
    # functions for each shift and each width would be many; polynomials would gain little by them
    is_one = job.is_polynomial or job.phases.number > 1
    forms = {form.shift: form} if is_one else _by_shift(form)
    table = job.table(layer, next(iter(forms.values())))
    widths = sorted(set(job.phases.widths), reverse=True)
    functions = {(s, w): job.microkernel(one, w) for s, one in forms.items() for w in widths}
    return _kernel(job, table, functions, layer)


def _form(job: _Job, layer: scaling.Layer) -> Scaling | None:
    if not job.has_dsp:
        return long_scaling.as_long(scaling.rounded(layer))
    return scaling.rounded(layer) if job.is_polynomial else scaling.choose(layer)


def _by_shift(form: Scaling) -> dict[int, Scaling]:
    """A form for each shift, where channels have few: it is a number in the instructions then."""
    if isinstance(form, Floored) or form.shift:
        return {form.shift: form}
    distinct = sorted({int(shift) for shift in form.shifts})
    if len(distinct) > LARGEST_VARIETY or distinct[0] < 1:
        return {0: form}
    return {s: replace(form, shifts=np.full_like(form.shifts, s)) for s in distinct}


@dataclass(frozen=True)
class _Job:
    """A layer. Of a turned one, rows are the image's columns, here and in all shapes."""

    attrs: QDepthwiseConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    weight: Array
    has_dsp: bool = True
    is_turned: bool = False
    has_halves: bool = False  # where polynomials would do if they could
    is_single: bool = False
    tile: int = 0  # outputs at a time, 0 for the usual ones

    @property
    def turned(self) -> _Job:
        """The same layer with columns for rows."""
        attrs, (top, left, bottom, right) = self.attrs, self.attrs.padding
        flipped = replace(
            attrs,
            strides=attrs.strides[::-1],
            dilation=attrs.dilation[::-1],
            padding=(left, top, right, bottom),
        )
        data, output = (
            TensorSpec((batch, columns, rows, channels), "int8")
            for batch, rows, columns, channels in (self.data.shape, self.output.shape)
        )
        weight = self.weight.swapaxes(0, 1)
        turned = replace(self, attrs=flipped, data=data, output=output, weight=weight)
        return replace(turned, is_turned=True)

    @property
    def is_better_turned(self) -> bool:
        """Whether a turned window has clearly fewer words, and columns are in reach of offsets."""
        turned = self.turned
        taps = self.weight.shape[0] * self.words, self.weight.shape[1] * turned.words
        is_near = OUTPUTS_IN_REACH * max(turned.steps_in[0], turned.output_step) <= LARGEST_OFFSET
        return 4 * taps[1] < 3 * taps[0] and is_near and turned.has_windows

    @property
    def steps_in(self) -> tuple[int, int]:
        """Bytes from column to column of the input, and from row to row."""
        return self._steps(self.data)

    def _steps(self, image: TensorSpec) -> tuple[int, int]:
        _, rows, columns, channels = image.shape
        if self.is_turned:
            return rows * channels, channels
        return channels, columns * channels

    @property
    def is_supported(self) -> bool:
        """Whether the stack holds the weights, and offsets fit instructions."""
        steps = 2 * self.attrs.dilation[1] * self.steps_in[0], 2 * self.output_step
        is_near = max(self._reach(self.words_of_row), *steps) <= LARGEST_OFFSET
        is_small = self.weight.shape[0] * self.words <= LARGEST_TABLE
        return is_small and is_near and self.has_windows and bool(self.planes)

    @property
    def has_windows(self) -> bool:
        """Whether windows begin where there are micro-kernels for them: polynomials' with words."""
        return self.has_dsp or self.phases.step <= LARGEST_STEP

    @property
    def phases(self) -> Phases:
        """How columns are sorted."""
        return Phases(self.output.shape[2], self.attrs.strides[1], self.attrs.dilation[1])

    @property
    def output_step(self) -> int:
        """Bytes from output to output of a phase."""
        return self.phases.number * self._steps(self.output)[0]

    def _reach(self, words_of_row: int) -> int:
        """Bytes of a plane with such rows that offsets of a tile span."""
        taps = (self.weight.shape[0] - 1) * self.attrs.dilation[0] * 4 * words_of_row
        return taps + 2 * max(self.phases.step, 2) * OUTPUTS_OF_TILE + 4 * self.words

    @property
    def is_small(self) -> bool:
        """3x3 windows at stride one have a micro-kernel of their own, unless rows are long."""
        is_square = self.weight.shape[:2] == (3, 3) and self.phases.step == 1 and self.has_dsp
        return is_square and self._reach(self._words_of_small) <= LARGEST_PAIR_OFFSET

    @property
    def is_short(self) -> bool:
        """Whether windows are too short for what polynomials save to pay for their ends."""
        return self.weight.shape[0] * (self.words + 1) <= LARGEST_SHORT

    @property
    def is_polynomial(self) -> bool:
        """Whether the plane's words are polynomials."""
        has_halves = self.is_small or self.has_halves or self.is_short
        return not self.has_dsp or (self.phases.step == 1 and not has_halves)

    @property
    def words(self) -> int:
        """Of a row of taps."""
        return -(-self.weight.shape[1] // 2)

    @property
    def _words_of_small(self) -> int:
        return -(-self.phases.widths[0] // 2) + 1

    @property
    def words_of_row(self) -> int:
        """Of a plane."""
        width = self.phases.widths[0]
        if self.is_small:
            return self._words_of_small
        if self.is_polynomial and self.phases.step == 1:
            return width // 2 + self.words
        return -(-(width - 1) * self.phases.step // 2) + self.words

    @property
    def rows(self) -> int:
        """Of a plane."""
        rows = (self.output.shape[1] - 1) * self.attrs.strides[0]
        return rows + (self.weight.shape[0] - 1) * self.attrs.dilation[0] + 1

    @property
    def planes(self) -> list[Plane]:
        """What windows reach of the image."""
        _, height, width, _ = self.data.shape
        step, pitch = self.steps_in
        top, left = self.attrs.padding[:2]
        whole = Plane(
            rows=self.rows,
            words=self.words_of_row,
            top=top,
            left=left,
            height=min(height, self.rows - top),
            width=width,
            step=step,
            pitch=pitch,
            zero_point=self.attrs.input_zero_point,
            is_polynomial=self.is_polynomial,
        )
        return list(self.phases.planes(whole))

    @property
    def has_couples(self) -> bool:
        """Whether two channels can be gathered at once."""
        planes, depth = self.planes, self.data.shape[3]
        is_one = self.phases.number == len(planes) == 1
        return depth > 1 and is_one and plane_couples.can_gather(planes[0])

    def microkernel(self, form: Scaling, width: int) -> MicroKernel:
        """What convolves a phase's plane to `width` outputs of each row."""
        row_bytes = 4 * self.words_of_row
        outputs = Outputs(
            self.output.shape[1],
            width,
            self.output_step,
            self._steps(self.output)[1],
            self.attrs.strides[0] * row_bytes,
            self.attrs.dilation[0] * row_bytes,
            form,
            self.tile,
        )
        rows = self.weight.shape[0]
        if self.is_small:
            return depthwise_pairs.three_by_three(outputs)
        if self.is_polynomial:
            return depthwise_polynomials.convolve(
                outputs, rows, self.words, self.phases.step, needs_dsp=self.has_dsp
            )
        return depthwise_pairs.strided(outputs, rows, self.words, self.phases.step)

    def table(self, layer: scaling.Layer, form: Scaling) -> Array:
        """(channels, fields): what the micro-kernel reads of a channel."""
        bias = layer.bias.astype(np.int64) << form.bias_scale
        if self.is_polynomial:
            bias = bias - (depthwise_polynomials.MIDDLE << form.scale)
            taps = depthwise_polynomials.pack_weights(self.weight)
        else:
            taps = self._pairs(self.weight.astype(np.int64) << form.scale)
        parameters = [bias[:, None], np.stack(form.columns, axis=1)]
        parts = [*parameters, taps] if self.is_small else [taps, *parameters]
        table = np.concatenate(parts, axis=1)
        return (table & 0xFFFFFFFF).astype(np.uint32).view(np.int32)

    def _pairs(self, weight: Array) -> Array:
        """Halves of (0, 1), (2, 3) ... of each row; of (0, 1), (1, 2) for the small windows."""
        if self.is_small:
            low, high = weight[:, [0, 1]], weight[:, [1, 2]]
        else:
            padded = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2), (0, 0)))
            low, high = padded[:, 0::2], padded[:, 1::2]
        words = (low & 0xFFFF) | ((high & 0xFFFF) << 16)
        return words.reshape(-1, weight.shape[2]).T


def _kernel(
    job: _Job,
    table: Array,
    functions: Mapping[tuple[int, int], MicroKernel],
    layer: scaling.Layer,
) -> Kernel:
    shifts = layer.shift.astype(np.int8)
    batch, depth, channels = job.data.shape[0], job.data.shape[3], job.output.shape[3]
    in_image, out_image = job.data.elements // batch, job.output.elements // batch
    fields, phases, per_input = table.shape[1], job.phases.number, channels // depth
    plane, fill = job.rows * job.words_of_row, job.planes[0].fill
    couples = 0 if job.is_single or not job.has_couples else depth // 2
    gather = gather_microkernel(job.planes)
    gather_two = plane_couples.gather_microkernel(job.planes[0]) if couples else gather
    gathers = [gather_two] * (couples > 0) + [gather] * (depth > 2 * couples)
    words, phase_step = max(phases, 2 * (couples > 0)) * plane, job.output_step // phases
    clamp, choice = Clamp(job.attrs, job.output.elements), _Choice(functions, job.phases)

    @T.prim_func(s_tir=True)
    def depthwise_conv2d(
        x: T.Buffer((batch, in_image), "int8"),
        table: T.Buffer((channels, fields), "int32"),
        shift: T.Buffer((channels,), "int8"),
        scratch: T.Buffer((words,), "int32"),
        y: T.Buffer((batch, out_image), "int8"),
    ):
        T.evaluate(call("tiny_fill_words", scratch[0], words, fill))
        for n, i in T.grid(batch, couples):
            T.evaluate(call(gather_two.name, x[n, 2 * i], scratch[0]))
            for s, j in T.grid(2, per_input):
                c = T.meta_var((2 * i + s) * per_input + j)
                T.evaluate(choice.call(shift[c], 0, scratch[s * plane], table[c, 0], y[n, c]))
        for n, i in T.grid(batch, depth - 2 * couples):
            T.evaluate(call(gather.name, x[n, 2 * couples + i], scratch[0]))
            for j, p in T.grid(per_input, phases):
                c = T.meta_var((2 * couples + i) * per_input + j)
                T.evaluate(
                    choice.call(
                        shift[c], p, scratch[p * plane], table[c, 0], y[n, p * phase_step + c]
                    )
                )
        T.evaluate(clamp.call(y[0, 0]))

    return Kernel(
        "depthwise_conv2d",
        depthwise_conv2d,
        (("table", table), ("shift", shifts)),
        TensorSpec((words,), "int32"),
        SOURCES,
        (*gathers, *functions.values()),
        (overlaps.by_channel(job.data, job.output),),
    )


@dataclass(frozen=True)
class _Choice:
    """Micro-kernels by (shift, width), and which of them takes a phase of a channel."""

    functions: Mapping[tuple[int, int], MicroKernel]
    phases: Phases

    def call(self, shift: tirx.Expr, phase: tirx.Expr | int, *arguments: tirx.Expr) -> tirx.Expr:
        """A call of the one."""
        widths = self.phases.widths
        chosen: tirx.Expr | None = None
        for (own, width), function in reversed(list(self.functions.items())):
            one = call(function.name, *arguments)
            is_own = phase < widths.count(width) if len(set(widths)) > 1 else shift == own
            chosen = one if chosen is None else T.if_then_else(is_own, one, chosen)
        assert chosen is not None
        return chosen
