"""What poolings share on pixels of a multiple of four channels; see runtime/tvm_tiny_pool.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import Array, Kernel, Overlap, TensorSpec
from tvm_tiny.schedules.microkernel import call

if TYPE_CHECKING:
    from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_pool.h", "tvm_tiny_pool.c")
LARGEST_COUNT = 255  # of int8 values whose sum fits 16 bits
RECIPROCAL_BITS = 30
WORD = 4


def supports(data: TensorSpec) -> bool:
    """Whether pixels consist of whole words."""
    return data.shape[-1] % WORD == 0


def table(attrs: QPool2DAttributes, data: TensorSpec, output: TensorSpec) -> Array:
    """What the C functions read."""
    top, left, _, _ = attrs.padding
    _, *size = data.shape
    _, height, width, _ = output.shape
    limits = (attrs.clamp_min, attrs.clamp_max)
    values = (*size, *attrs.size, *attrs.strides, top, left, height, width, *limits)
    return np.array(values, np.int32)


def reciprocals(largest: int) -> Array:
    """2^30 / count and a little more, for counts up to `largest`.

    total * reciprocal, halves up, then is total / count with halves away from zero: the excess
    carries positive halves over the edge, and negative ones below. Counts of one have no halves,
    and the double of their reciprocal must fit 32 bits.
    """
    counts = np.arange(1, largest + 1)
    excess = (1 << RECIPROCAL_BITS) // counts + 1
    excess[0] = (1 << RECIPROCAL_BITS) - 1
    return np.array([0, *excess], np.int32)


def overlap_of(
    attrs: QPool2DAttributes, data: TensorSpec, output: TensorSpec, channels: int
) -> Overlap | None:
    """Pixel by pixel, so many channels at a time."""
    one_by_one, skipped = overlaps.in_rows(output, 1), data.shape[3] - channels
    return overlaps.windows(attrs, data, output, attrs.size, one_by_one, channels, skipped)


def pool_kernel(
    attrs: QPool2DAttributes,
    name: str,
    data: TensorSpec,
    output: TensorSpec,
    function: str,
    tables: dict[str, Array],
) -> Kernel:
    """One call of `function` for every image: (image, *tables, output)."""
    batch, size, out_size = data.shape[0], data.elements // data.shape[0], output.elements
    out_size //= batch
    make = _two_tables if len(tables) == 2 else _one_table
    sizes = [len(values) for values in tables.values()]
    return Kernel(
        name,
        make(batch, size, out_size, function, *sizes),
        tuple(tables.items()),
        sources=SOURCES,
        overlaps=(overlap_of(attrs, data, output, WORD),),
    )


def _one_table(batch: int, size: int, out_size: int, function: str, length: int) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)
    def pool(
        x: T.Buffer((batch, size), "int8"),
        pool: T.Buffer((length,), "int32"),
        y: T.Buffer((batch, out_size), "int8"),
    ):
        for n in range(batch):
            T.evaluate(call(function, x[n, 0], pool[0], y[n, 0]))

    return pool


def _two_tables(
    batch: int, size: int, out_size: int, function: str, length: int, second: int
) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)
    def pool(
        x: T.Buffer((batch, size), "int8"),
        pool: T.Buffer((length,), "int32"),
        reciprocals: T.Buffer((second,), "int32"),
        y: T.Buffer((batch, out_size), "int8"),
    ):
        for n in range(batch):
            T.evaluate(call(function, x[n, 0], pool[0], reciprocals[0], y[n, 0]))

    return pool
