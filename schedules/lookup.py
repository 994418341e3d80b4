"""tiny.lookup: any function of one int8 value, as a table of 256 results.

Rescaling, clamping and every activation become this operator; its table is computed once, at
compile time, from the function's exact meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tvm_tiny.schedules import elementwise, overlaps
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    Variant,
    define,
)
from tvm_tiny.schedules.microkernel import call

DOMAIN = np.arange(-128, 128, dtype=np.int64)  # table index i holds the value of i - 128
SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_lookup.h", "tvm_tiny_lookup.c")
SHORTEST_RUN = 8  # elements for which a call of the runtime is worth it


@dataclass(frozen=True)
class LookupAttributes(Attributes):
    """`function` names what the table computes, for people who read the C code."""

    function: str


def infer(attrs: LookupAttributes, data: TensorSpec, table: Array) -> TensorSpec:
    """Same shape and dtype."""
    return data


def meaning(attrs: LookupAttributes, data: Array, table: Array) -> Array:
    """table[x + 128]."""
    return table[data.astype(np.int64) + 128]


def kernel(attrs: LookupAttributes, data: TensorSpec, table: Array) -> Kernel:
    """One pass over the elements."""
    n = data.elements

    @T.prim_func(s_tir=True)
    def lookup(
        x: T.Buffer((n,), "int8"), table: T.Buffer((256,), "int8"), y: T.Buffer((n,), "int8")
    ):
        for i in range(n):
            with T.sblock("lookup"):
                v = T.axis.spatial(n, i)
                y[v] = table[T.Cast("int32", x[v]) + 128]

    constants = (("table", table.astype(np.int8)),)
    return Kernel("lookup", lookup, constants, overlaps=(overlaps.elements(data, data),))


def run_kernel(attrs: LookupAttributes, data: TensorSpec, table: Array) -> Kernel | None:
    """The runtime's loop; its table starts at zero, negative values behind it."""
    n = data.elements
    if n < SHORTEST_RUN:
        return None

    @T.prim_func(s_tir=True)
    def lookup(
        x: T.Buffer((n,), "int8"), table: T.Buffer((256,), "int8"), y: T.Buffer((n,), "int8")
    ):
        T.evaluate(call("tiny_lookup", x[0], n, table[0], y[0]))

    rotated, overlap = np.roll(table.astype(np.int8), 128), overlaps.elements(data, data)
    return Kernel("lookup", lookup, (("table", rotated),), sources=SOURCES, overlaps=(overlap,))


LOOKUP = define(
    Operator(
        "tiny.lookup",
        LookupAttributes,
        infer,
        meaning,
        kernel,
        variants=(Variant("run", frozenset(), run_kernel),),
        reaches=lambda attrs, data, table: elementwise.reaches(attrs, data),
    )
)
