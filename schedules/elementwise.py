"""What operators over two broadcast int8 tensors share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import Argument, Kernel, TensorSpec


def broadcast_shape(a: Argument, b: Argument) -> tuple[int, ...]:
    """numpy's rule."""
    return np.broadcast_shapes(a.shape, b.shape)


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
    if a.shape == b.shape == shape:
        shape = (int(np.prod(shape)),)
    a_shape, b_shape = _aligned(a.shape, shape), _aligned(b.shape, shape)
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
    if isinstance(a, np.ndarray) and isinstance(b, TensorSpec):
        x, w, y = binary.params  # run-time tensors come first
        binary = tirx.PrimFunc([w, x, y], binary.body, binary.ret_type, binary.attrs)
    return Kernel(name, binary, tuple(constants))


def _aligned(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    if len(to) == 1:
        return (int(np.prod(shape)),)
    return (1,) * (len(to) - len(shape)) + tuple(shape)


def _strides(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for extent, _ in zip(reversed(shape), reversed(to), strict=True):
        strides.append(step if extent > 1 else 0)
        step *= extent
    return tuple(reversed(strides))
