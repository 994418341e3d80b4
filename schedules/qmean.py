"""tiny.qmean: int8 mean over some axes, with its own output scale.

Meaning as in TensorFlow Lite's QuantizedMeanOrSum: sum, subtract the zero point, and rescale with
a multiplier into which the division by the number of elements is folded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import elementwise, numerics, overlaps, pooling
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    Overlap,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.microkernel import call

FEWEST_PIXELS = 8  # for which lanes are worth unpacking, as measured


@dataclass(frozen=True)
class QMeanAttributes(Attributes):
    """Axes (adjacent, increasing), whether they stay as ones, and the rescaling."""

    axes: tuple[int, ...]
    keep_dims: int
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int


def fold_count(real: float, count: int) -> tuple[int, int]:
    """Multiplier and shift of real / count, exactly as the reference folds them."""
    multiplier, shift = (int(v) for v in numerics.quantize_multiplier(real))
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


def infer(attrs: QMeanAttributes, data: TensorSpec) -> TensorSpec:
    """The axes removed, or of extent one."""
    kept = [1 if i in attrs.axes else d for i, d in enumerate(data.shape)]
    if not attrs.keep_dims:
        kept = [d for i, d in enumerate(data.shape) if i not in attrs.axes]
    return TensorSpec(tuple(kept), "int8")


def meaning(attrs: QMeanAttributes, data: Array) -> Array:
    """Rescaled sum of the elements less their zero points."""
    total = data.astype(np.int64).sum(axis=attrs.axes, keepdims=bool(attrs.keep_dims))
    count = int(np.prod([data.shape[axis] for axis in attrs.axes]))
    shifted = total - attrs.input_zero_point * count
    scaled = numerics.requantize(shifted, attrs.multiplier, attrs.shift)
    return numerics.clamp_int8(scaled + attrs.output_zero_point)


def kernel(attrs: QMeanAttributes, data: TensorSpec) -> Kernel:
    """A sum over the middle of (outer, reduced, inner)."""
    first, last = attrs.axes[0], attrs.axes[-1]
    if attrs.axes != tuple(range(first, last + 1)):
        raise UnsupportedError("mean over axes that are not adjacent", found=attrs.axes)
    outer = int(np.prod(data.shape[:first]))
    count = int(np.prod(data.shape[first : last + 1]))
    inner = int(np.prod(data.shape[last + 1 :]))
    bias = -attrs.input_zero_point * count
    elementwise.check_reach(255 * count, attrs.shift)
    clamp, scale = elementwise.clamp, elementwise.scale

    @T.prim_func(s_tir=True)
    def mean(x: T.Buffer((outer, count, inner), "int8"), y: T.Buffer((outer, inner), "int8")):
        for o, i in T.grid(outer, inner):
            with T.sblock("mean"):
                p, c = T.axis.remap("SS", [o, i])
                total = T.sblock_alloc_buffer((1,), "int32")
                total[0] = bias
                for k in range(count):
                    total[0] = total[0] + T.Cast("int32", x[p, k, c])
                y[p, c] = clamp(
                    scale(total[0], attrs.multiplier, attrs.shift) + attrs.output_zero_point,
                    -128,
                    127,
                )

    return Kernel("mean", mean, overlaps=(_overlap(attrs, data, 1),))


def word_kernel(attrs: QMeanAttributes, data: TensorSpec) -> Kernel | None:
    """Four channels at a time, for means over pixels."""
    first, last = attrs.axes[0], attrs.axes[-1]
    batch, pixels = int(np.prod(data.shape[:first])), int(np.prod(data.shape[first : last + 1]))
    channels = int(np.prod(data.shape[last + 1 :]))
    is_possible = attrs.axes == tuple(range(first, last + 1)) and attrs.shift <= 0
    if not is_possible or channels % pooling.WORD:
        return None
    if not FEWEST_PIXELS <= pixels <= pooling.LARGEST_COUNT:
        return None
    offset = -attrs.input_zero_point * pixels
    rescale = np.array([offset, attrs.multiplier, -attrs.shift, attrs.output_zero_point], np.int32)

    @T.prim_func(s_tir=True)
    def mean(
        x: T.Buffer((batch, pixels, channels), "int8"),
        rescale: T.Buffer((4,), "int32"),
        y: T.Buffer((batch, channels), "int8"),
    ):
        for n in range(batch):
            T.evaluate(call("tiny_mean", x[n, 0, 0], pixels, channels, rescale[0], y[n, 0]))

    overlap = _overlap(attrs, data, pooling.WORD)
    constants = (("rescale", rescale),)
    return Kernel("mean", mean, constants, sources=pooling.SOURCES, overlaps=(overlap,))


def _overlap(attrs: QMeanAttributes, data: TensorSpec, channels: int) -> Overlap | None:
    """So many channels are read before they are written."""
    outer = int(np.prod(data.shape[: attrs.axes[0]]))
    inner = int(np.prod(data.shape[attrs.axes[-1] + 1 :]))
    reads, one_by_one = np.arange(outer) * (data.elements // outer), np.arange(outer)[:, None]
    output = infer(attrs, data)
    return overlaps.tiles(reads, one_by_one, data, output, channels, skipped=inner - channels)


QMEAN = define(
    Operator(
        "tiny.qmean",
        QMeanAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("words", frozenset(), word_kernel),),
    )
)
