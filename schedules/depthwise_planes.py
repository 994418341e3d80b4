"""Depthwise convolutions on cores with DSP instructions, one channel at a time.

Each channel is gathered from NHWC into a plane in scratch (planes.py; plane_couples.py gathers two
at once), convolved there with its weights and parameters in registers, and written back in place of
its bytes. 3x3 windows and stride two take pairs of halves (depthwise_pairs.py), all other windows
polynomials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import depthwise_pairs, depthwise_polynomials, plane_couples, scaling
from tvm_tiny.schedules.depthwise_pairs import Outputs
from tvm_tiny.schedules.dialect import Array, Kernel, TensorSpec
from tvm_tiny.schedules.microkernel import MicroKernel, call
from tvm_tiny.schedules.planes import LARGEST_OFFSET, Plane, gather_microkernel
from tvm_tiny.schedules.requantization import Clamp
from tvm_tiny.schedules.scaling import Floored, Scaling

if TYPE_CHECKING:
    from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_planes.c", "tvm_tiny_planes.h")
LARGEST_WIDTH = 8  # of a window
LARGEST_PAIR_OFFSET = 1020  # of LDRD
OUTPUTS_OF_TILE = 8
LARGEST_VARIETY = 4  # of shifts that have functions of their own


def kernel(
    attrs: QDepthwiseConv2DAttributes,
    data: TensorSpec,
    output: TensorSpec,
    weight: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    is_single: bool = False,
) -> Kernel | None:
    """The kernel; None for wide windows, wide strides, and arithmetic that does not fit.

    It gathers two channels at once if it can. `is_single` is one at a time, with half the scratch;
    None where that is the same.
    """
    job = _Job(attrs, data, output, weight)
    if not job.is_supported or (is_single and not job.couples):
        return None
    job = replace(job, is_single=is_single)
    taps = weight.reshape(-1, weight.shape[2]).T
    layer = scaling.layer_of(attrs, taps, bias, multiplier, shift)
    form = scaling.rounded(layer) if job.is_polynomial else scaling.choose(layer)
    if form is None or (job.is_polynomial and not depthwise_polynomials.fits(weight)):
        return None
    # polynomials have long functions, and would gain little
    forms = {form.shift: form} if job.is_polynomial else _by_shift(form)
    table = job.table(layer, next(iter(forms.values())))
    return _kernel(job, table, {shift: job.microkernel(one) for shift, one in forms.items()}, layer)


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
    attrs: QDepthwiseConv2DAttributes
    data: TensorSpec
    output: TensorSpec
    weight: Array
    is_single: bool = False

    @property
    def couples(self) -> int:
        """How many times two channels are gathered at once."""
        can = not self.is_single and plane_couples.can_gather(self.plane)
        return self.data.shape[3] // 2 if can else 0

    @property
    def is_supported(self) -> bool:
        """Whether the geometry is one of those above, and offsets fit instructions."""
        rows, columns, channels = self.weight.shape
        strides = self.attrs.strides
        is_plain = channels == self.data.shape[3] and self.attrs.dilation[1] == 1
        if not is_plain or strides[1] > 2 or columns > LARGEST_WIDTH:
            return False
        plane, tap_bytes = self.plane, self.attrs.dilation[0] * self.plane.bytes_of_row
        reach = (rows - 1) * tap_bytes + 4 * OUTPUTS_OF_TILE + 4 * LARGEST_WIDTH
        largest = LARGEST_PAIR_OFFSET if self.is_small else LARGEST_OFFSET
        is_near = reach <= largest and 2 * channels <= LARGEST_OFFSET
        return is_near and plane.height > 0 and plane.width > 0

    @property
    def is_small(self) -> bool:
        """3x3 windows at stride one have a micro-kernel of their own."""
        return self.weight.shape[:2] == (3, 3) and self.attrs.strides[1] == 1

    @property
    def is_polynomial(self) -> bool:
        """Whether the plane's words are polynomials."""
        return self.attrs.strides[1] == 1 and not self.is_small

    @property
    def words(self) -> int:
        """Of a row of taps."""
        return -(-self.weight.shape[1] // 2)

    @property
    def plane(self) -> Plane:
        """What windows reach."""
        attrs, width = self.attrs, self.output.shape[2]
        _, image_height, image_width, channels = self.data.shape
        rows = (self.output.shape[1] - 1) * attrs.strides[0]
        rows += (self.weight.shape[0] - 1) * attrs.dilation[0] + 1
        if self.is_small:
            words = -(-width // 2) + 1
        else:
            words = (width // 2 if self.is_polynomial else width - 1) + self.words
        top, left = attrs.padding[:2]
        return Plane(
            rows=rows,
            words=words,
            top=top,
            left=left,
            height=min(image_height, rows - top),
            width=min(image_width, 2 * words - left),
            step=channels,
            pitch=image_width * channels,
            zero_point=attrs.input_zero_point,
            is_polynomial=self.is_polynomial,
        )

    def microkernel(self, form: Scaling) -> MicroKernel:
        """What convolves a plane."""
        row_bytes = self.plane.bytes_of_row
        outputs = Outputs(
            self.output.shape[1],
            self.output.shape[2],
            self.output.shape[3],
            self.attrs.strides[0] * row_bytes,
            self.attrs.dilation[0] * row_bytes,
            form,
        )
        if self.is_small:
            return depthwise_pairs.three_by_three(outputs)
        if self.is_polynomial:
            return depthwise_polynomials.stride_one(outputs, self.weight.shape[0], self.words)
        return depthwise_pairs.stride_two(outputs, self.weight.shape[0], self.words)

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
    job: _Job, table: Array, convolve: Mapping[int, MicroKernel], layer: scaling.Layer
) -> Kernel:
    gather, shifts = gather_microkernel(job.plane), layer.shift.astype(np.int8)
    batch, channels = job.data.shape[0], job.data.shape[3]
    in_image, out_image = job.data.elements // batch, job.output.elements // batch
    fields, words, fill = table.shape[1], job.plane.rows * job.plane.words, job.plane.fill
    couples = job.couples
    gather_two = plane_couples.gather_microkernel(job.plane) if couples else gather
    used = [gather_two] * (couples > 0) + [gather] * (channels > 2 * couples)
    all_words = 2 * words if couples else words
    clamp = Clamp(job.attrs, job.output.elements)

    @T.prim_func(s_tir=True)
    def depthwise_conv2d(
        x: T.Buffer((batch, in_image), "int8"),
        table: T.Buffer((channels, fields), "int32"),
        shift: T.Buffer((channels,), "int8"),
        scratch: T.Buffer((all_words,), "int32"),
        y: T.Buffer((batch, out_image), "int8"),
    ):
        T.evaluate(call("tiny_fill_words", scratch[0], all_words, fill))
        for n, i in T.grid(batch, couples):
            T.evaluate(call(gather_two.name, x[n, 2 * i], scratch[0]))
            for j in range(2):
                c = T.meta_var(2 * i + j)
                T.evaluate(
                    _convolution(convolve, shift[c], scratch[j * words], table[c, 0], y[n, c])
                )
        for n, i in T.grid(batch, channels - 2 * couples):
            c = T.meta_var(2 * couples + i)
            T.evaluate(call(gather.name, x[n, c], scratch[0]))
            T.evaluate(_convolution(convolve, shift[c], scratch[0], table[c, 0], y[n, c]))
        T.evaluate(clamp.call(y[0, 0]))

    return Kernel(
        "depthwise_conv2d",
        depthwise_conv2d,
        (("table", table), ("shift", shifts)),
        TensorSpec((all_words,), "int32"),
        SOURCES,
        (*used, *convolve.values()),
    )


def _convolution(
    convolve: Mapping[int, MicroKernel], shift: tirx.Expr, *arguments: tirx.Expr
) -> tirx.Expr:
    """A call of the micro-kernel for a channel's shift."""
    *others, (_, last) = convolve.items()
    chosen = call(last.name, *arguments)
    for own, function in reversed(others):
        chosen = T.if_then_else(shift == own, call(function.name, *arguments), chosen)
    return chosen
