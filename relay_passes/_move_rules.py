"""Rules for operators that only move values: they act on the integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir, relax

from tvm_tiny.relay_passes._islands import (
    clip,
    four_sides,
    from_nhwc,
    to_nhwc,
)
from tvm_tiny.relay_passes._pooling_rules import pool_attributes
from tvm_tiny.relay_passes._quantized import Quantized, constant
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import spec_of
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]


def _moved(rule: Callable[[Walk, ir.Call, ir.Expr], ir.Expr | None]) -> Callable[..., Any]:
    def transparent(walk: Walk, call: ir.Call) -> Quantized | None:
        known = walk.quantized_of(call.args[0])
        assert known is not None
        if known.is_constant:
            return _moved_constant(call, known)
        if known.scale.size != 1:
            return None
        expr = rule(walk, call, known.expr)
        return None if expr is None else known.with_expr(walk.emit(expr))

    return transparent


def _moved_constant(call: ir.Call, known: Quantized) -> Quantized | None:
    """Weights that are reshaped or transposed after dequantisation."""
    if call.op.name == "relax.permute_dims":
        axes = [int(axis) for axis in call.attrs.axes or reversed(range(known.integers.ndim))]
        values, axis = known.integers.transpose(axes), axes.index(known.axis)
    else:
        shape = [int(d) for d in call.ty.shape]
        values, axis = known.integers.reshape(shape), 0
        if known.scale.size > 1:
            matches = [i for i, d in enumerate(shape) if d == known.scale.size]
            if len(matches) != 1:
                return None
            axis = matches[0]
    return known.with_expr(constant(values), axis)


def _reshape(walk: Walk, call: ir.Call, data: ir.Expr) -> ir.Expr:
    return relax.op.reshape(data, [int(d) for d in call.ty.shape])


def _transpose(walk: Walk, call: ir.Call, data: ir.Expr) -> ir.Expr:
    axes = call.attrs.axes or reversed(range(len(data.ty.shape)))
    return TRANSPOSE(TransposeAttributes(tuple(int(axis) for axis in axes)), data)


def _max_pool2d(walk: Walk, call: ir.Call, data: ir.Expr) -> ir.Expr:
    x, is_nchw = to_nhwc(walk, data, str(call.attrs.layout))
    clamp = (numerics.INT8_MIN, numerics.INT8_MAX)
    attrs = pool_attributes(call, four_sides(call.attrs.padding), clamp)
    return from_nhwc(walk, QMAX_POOL2D(attrs, x), is_nchw)


def _pad_quantized(walk: Walk, call: ir.Call, data: ir.Expr) -> ir.Expr | None:
    known = walk.quantized_of(call.args[0])
    value = float(call.attrs.pad_value)
    if known is None:
        return None
    integer = round(value / known.scalar_scale) + known.zero_point
    return _pad_with(call, data, max(-128, min(127, integer)))


def _pad_integer(walk: Walk, call: ir.Call) -> ir.Expr | None:
    return _pad_with(call, walk._new(call.args[0]), int(float(call.attrs.pad_value)))


def _pad_with(call: ir.Call, data: ir.Expr, value: int) -> ir.Expr | None:
    widths = [int(w) for w in call.attrs.pad_width]
    if str(call.attrs.pad_mode) != "constant" or len(widths) > 8:
        return None
    return PAD(PadAttributes(tuple(widths[::2]), tuple(widths[1::2]), value), data)


def _resize2d(walk: Walk, call: ir.Call, data: ir.Expr) -> ir.Expr | None:
    factors = repeats(call)
    if factors is None:
        return None
    x, is_nchw = to_nhwc(walk, data, str(call.attrs.layout))
    return from_nhwc(walk, RESIZE(ResizeAttributes(factors), x), is_nchw)


def repeats(call: ir.Call) -> tuple[int, int] | None:
    """How often a resize repeats rows and columns, None where it does something else."""
    attrs = call.attrs
    place = str(attrs.layout).index("H")
    size, target = (spec_of(e).shape[place : place + 2] for e in (call.args[0], call))
    whole = all(t % s == 0 for t, s in zip(target, size, strict=True))
    if str(attrs.method) != "nearest_neighbor" or not whole:
        return None
    rounding = (str(attrs.coordinate_transformation_mode), str(attrs.rounding_method))
    rows, columns = (t // s for t, s in zip(target, size, strict=True))
    pairs = zip(size, (rows, columns), strict=True)
    return (rows, columns) if all(_repeats(s, f, *rounding) for s, f in pairs) else None


def _repeats(size: int, factor: int, coordinates: str, rounding: str) -> bool:
    """Whether nearest neighbour under these conventions repeats every pixel `factor` times."""
    index = np.arange(size * factor)
    positions = {
        "asymmetric": index / factor,
        "align_corners": index * (size - 1) / max(size * factor - 1, 1),
        "half_pixel": (index + 0.5) / factor - 0.5,
    }.get(coordinates)
    if positions is None:
        return False
    rounding = rounding or (
        "round" if coordinates == "align_corners" else "floor"
    )  # TVM's defaults
    # Halves go either way under `round` and what it prefers: they must not occur.
    either = (np.floor(positions + 0.5), np.ceil(positions - 0.5))
    chosen = {"floor": (np.floor(positions),), "ceil": (np.ceil(positions),)}.get(rounding, either)
    return all(np.array_equal(np.clip(c, 0, size - 1), index // factor) for c in chosen)


MOVES: dict[str, Callable[[Walk, ir.Call, ir.Expr], ir.Expr | None]] = {
    "relax.reshape": _reshape,
    "relax.squeeze": _reshape,
    "relax.expand_dims": _reshape,
    "relax.flatten": _reshape,
    "relax.permute_dims": _transpose,
    "relax.nn.max_pool2d": _max_pool2d,
    "relax.image.resize2d": _resize2d,
}


# On a quantised float: the integers move, the parameters stay.
TRANSPARENT = {name: _moved(rule) for name, rule in MOVES.items()} | {
    "relax.nn.pad": _moved(_pad_quantized)
}


def _on_integers(rule: Callable[[Walk, ir.Call, ir.Expr], ir.Expr | None]) -> Callable[..., Any]:
    return lambda walk, call: rule(walk, call, walk._new(call.args[0]))


def _clip_integer(walk: Walk, call: ir.Call) -> ir.Expr:
    low, high = (int(float(bound.value)) for bound in call.args[1:])
    return clip(walk._new(call.args[0]), low, high)


def _concat_integer(walk: Walk, call: ir.Call) -> ir.Expr:
    fields = walk.value_of(call.args[0]).fields
    axis = int(call.attrs.axis or 0) % len(call.ty.shape)
    return CONCAT(ConcatAttributes(axis), *[walk._new(field) for field in fields])


# On tensors that are int8 already in the source.
INTEGER: dict[str, Callable[[Walk, ir.Call], ir.Expr | None]] = {
    name: _on_integers(rule) for name, rule in MOVES.items()
} | {
    "relax.nn.pad": _pad_integer,
    "relax.clip": _clip_integer,
    "relax.concat": _concat_integer,
}
