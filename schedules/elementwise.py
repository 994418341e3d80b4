"""What operators over two broadcast int8 tensors share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics, overlaps
from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Overlap,
    Reach,
    Reaches,
    TensorSpec,
)
from tvm_tiny.schedules.microkernel import call

SOURCES = ("tvm_tiny_dsp.h", "tvm_tiny_elementwise.h", "tvm_tiny_elementwise.c")
SHORTEST_RUN = 8  # elements for which a call of the runtime is worth it
MAX_OUTER_AXES = 3


def broadcast_shape(a: Argument, b: Argument) -> tuple[int, ...]:
    """numpy's rule."""
    return np.broadcast_shapes(a.shape, b.shape)


def reaches(attrs: Attributes, *arguments: Argument) -> Reaches | None:
    """What elements of the same place give: tensors of the whole image, the others read whole."""
    shape = np.broadcast_shapes(*(argument.shape for argument in arguments))
    found: list[Reach | None] = []
    for argument in arguments:
        is_whole, is_small = argument.shape == shape, math.prod(argument.shape[-3:-1]) == 1
        if len(shape) != 4 or not (is_small or (is_whole and isinstance(argument, TensorSpec))):
            return None
        if isinstance(argument, TensorSpec):
            found.append(Reach() if is_whole else None)
    return tuple(found)


def clamp(value: tirx.Expr, low: int, high: int) -> tirx.Expr:
    """TIR: int8 of a clamped int32."""
    return T.Cast("int8", T.call_extern("int32", "tiny_clamp", value, low, high))


def scale(value: tirx.Expr, multiplier: int, shift: int) -> tirx.Expr:
    """TIR: value * multiplier * 2^(shift - 31), rounded twice; see check_reach."""
    if shift <= 0:
        return T.call_extern("int32", "tiny_requantize", value, multiplier, -shift)
    return T.call_extern("int32", "tiny_requantize_any", value, multiplier, shift)


def check_reach(reach: int, shift: int) -> None:
    """Prove that values up to `reach` stay in the range of the C helpers when `scale` shifts them.

    Raises UnsupportedError.
    """
    if reach << max(shift, 0) >= 1 << 30:
        raise UnsupportedError(
            "scales of inputs and output so far apart that 32 bits could overflow",
            limit="2^30",
            found=reach << shift,
        )


def binary_kernel(
    name: str,
    a: Argument,
    b: Argument,
    compute: Callable[[tirx.Expr, tirx.Expr], tirx.Expr],
) -> Kernel:
    """A loop nest over the output, collapsed to one loop where both operands are dense.

    Constant operands become kernel constants; run-time operands keep their order.
    """
    shape = broadcast_shape(a, b)
    a_shape, b_shape = _aligned(a.shape, shape), _aligned(b.shape, shape)
    if a_shape == b_shape:
        a_shape = b_shape = shape = (int(np.prod(shape)),)
    a_strides, b_strides = _strides(a_shape, shape), _strides(b_shape, shape)
    rank4 = (1,) * (4 - len(shape)) + tuple(shape)
    d0, d1, d2, d3 = rank4
    a_size, b_size, size = int(np.prod(a_shape)), int(np.prod(b_shape)), int(np.prod(shape))

    def offset(strides: tuple[int, ...], *indices: tirx.Expr) -> tirx.Expr:
        padded = (0,) * (4 - len(strides)) + strides
        return sum((i * s for i, s in zip(indices, padded, strict=True) if s), T.int32(0))

    dense = _strides(shape, shape)

    @T.prim_func(s_tir=True)
    def binary(
        a: T.Buffer((a_size,), "int8"), b: T.Buffer((b_size,), "int8"), y: T.Buffer((size,), "int8")
    ):
        for i0, i1, i2, i3 in T.grid(d0, d1, d2, d3):
            with T.sblock("element"):
                v0, v1, v2, v3 = T.axis.remap("SSSS", [i0, i1, i2, i3])
                y[offset(dense, v0, v1, v2, v3)] = compute(
                    a[offset(a_strides, v0, v1, v2, v3)], b[offset(b_strides, v0, v1, v2, v3)]
                )

    operands = [("a", a), ("b", b)]
    constants = [(n, v.astype(np.int8)) for n, v in operands if isinstance(v, np.ndarray)]
    function = _run_time_first(binary, a, b)
    return Kernel(name, function, tuple(constants), overlaps=_overlaps(a, b))


@dataclass(frozen=True)
class RunCall:
    """A function of the C runtime over runs of contiguous elements.

    Its arguments are: both operands, the number of elements, `form`, the output. It saturates to
    int8; a narrower clamp follows in a pass of its own.
    """

    function: str
    form: Array
    clamp_min: int
    clamp_max: int


def run_kernel(name: str, a: Argument, b: Argument, run: RunCall) -> Kernel | None:
    """One call for every run of elements that is contiguous in both operands.

    None where runs are short: calls would cost more than they save.
    """
    shape = broadcast_shape(a, b)
    a_shape, b_shape = _aligned(a.shape, shape), _aligned(b.shape, shape)
    broadcast = [i for i, d in enumerate(shape) if not a_shape[i] == b_shape[i] == d]
    inner = broadcast[-1] + 1 if broadcast else 0
    rows, run_length = int(np.prod(shape[:inner])), int(np.prod(shape[inner:]))
    if (rows > 1 and run_length < SHORTEST_RUN) or inner > MAX_OUTER_AXES:
        return None
    outer = (1,) * (MAX_OUTER_AXES - inner) + tuple(shape[:inner])
    offset = _Offsets(shape, inner)
    a_size, b_size, size = int(np.prod(a_shape)), int(np.prod(b_shape)), int(np.prod(shape))
    form_size, low, high = len(run.form), run.clamp_min, run.clamp_max
    is_narrow = (low, high) != (numerics.INT8_MIN, numerics.INT8_MAX)

    @T.prim_func(s_tir=True)
    def runs(
        a: T.Buffer((a_size,), "int8"),
        b: T.Buffer((b_size,), "int8"),
        form: T.Buffer((form_size,), "int32"),
        y: T.Buffer((size,), "int8"),
    ):
        for i0, i1, i2 in T.grid(*outer):
            T.evaluate(
                call(
                    run.function,
                    a[offset.of(a_shape, i0, i1, i2)],
                    b[offset.of(b_shape, i0, i1, i2)],
                    run_length,
                    form[0],
                    y[offset.of(shape, i0, i1, i2)],
                )
            )
        if is_narrow:
            T.evaluate(call("tiny_clamp_run", y[0], size, low, high))

    operands = [("a", a), ("b", b)]
    constants = [(n, v.astype(np.int8)) for n, v in operands if isinstance(v, np.ndarray)]
    function = _run_time_first(runs, a, b)
    constants.append(("form", run.form))
    return Kernel(name, function, tuple(constants), sources=SOURCES, overlaps=_overlaps(a, b))


@dataclass(frozen=True)
class _Offsets:
    """Where a run begins in an operand; extents of one are broadcast."""

    shape: tuple[int, ...]
    inner: int

    def of(self, operand: tuple[int, ...], *indices: tirx.Expr) -> tirx.Expr:
        steps = _strides(operand, self.shape)[: self.inner]
        padded = (0,) * (len(indices) - self.inner) + steps
        return sum((i * s for i, s in zip(indices, padded, strict=True) if s), T.int32(0))


def _overlaps(a: Argument, b: Argument) -> tuple[Overlap | None, ...]:
    """The output may lie over operands of its own shape: the others are read again and again."""
    output = TensorSpec(broadcast_shape(a, b), "int8")
    return tuple(
        overlaps.elements(x, output) if x.elements == output.elements else None
        for x in (a, b)
        if isinstance(x, TensorSpec)
    )


def _run_time_first(function: tirx.PrimFunc, a: Argument, b: Argument) -> tirx.PrimFunc:
    """Run-time tensors come before constants."""
    if isinstance(a, TensorSpec) or isinstance(b, np.ndarray):
        return function
    first, second, *rest = function.params
    return tirx.PrimFunc([second, first, *rest], function.body, function.ret_type, function.attrs)


def _aligned(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(to) - len(shape)) + tuple(shape)


def _strides(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for extent, _ in zip(reversed(shape), reversed(to), strict=True):
        strides.append(step if extent > 1 else 0)
        step *= extent
    return tuple(reversed(strides))
