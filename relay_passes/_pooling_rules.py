"""Rules for pooling, reductions, softmax and concatenation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._islands import (
    Island,
    clamp_output,
    fixed_point,
    four_sides,
    from_nhwc,
    pair,
    rescale,
    to_nhwc,
)
from tvm_tiny.relay_passes._linear_rules import (
    channel_scaling,
    requantization_fields,
)
from tvm_tiny.relay_passes._quantized import Quantized, constant
from tvm_tiny.schedules import numerics, qmean
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qsoftmax import (
    OUTPUT_SCALE,
    OUTPUT_ZERO_POINT,
    QSOFTMAX,
    QSoftmaxAttributes,
)

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]


def pool_attributes(
    call: ir.Call, padding: tuple[int, int, int, int], clamp: tuple[int, int]
) -> Any:
    """Attributes of a pool of Relax; UnsupportedError with ceil_mode."""
    attrs = call.attrs
    if int(attrs.ceil_mode):
        raise UnsupportedError("pooling with ceil_mode", where=str(call.op.name))
    return QPool2DAttributes(
        strides=pair(attrs.strides),
        padding=padding,
        dilation=pair(attrs.dilation),
        size=pair(attrs.pool_size),
        clamp_min=clamp[0],
        clamp_max=clamp[1],
    )


def _avg_pool2d(walk: Walk, island: Island) -> ir.Expr | None:
    data = walk.quantized_of(island.core.args[0])
    return _pool_of_concat(walk, island) if data is None else _pool_of(walk, island, data)


def _pool_of_concat(walk: Walk, island: Island) -> ir.Expr | None:
    """The pool of channels side by side is the pools of each, side by side."""
    concat = walk.value_of(island.core.args[0])
    if getattr(getattr(concat, "op", None), "name", "") != "relax.concat":
        return None
    fields = walk.value_of(concat.args[0]).fields
    known = [walk.quantized_of(field) for field in fields]
    channels = str(island.core.attrs.layout).index("C")
    if any(field is None for field in known) or int(concat.attrs.axis or 0) % 4 != channels:
        return None
    pools = [_pool_of(walk, island, field) for field in known if field is not None]
    parts = [walk.emit(pool, f"_part_{index}") for index, pool in enumerate(pools)]
    return CONCAT(ConcatAttributes(channels), *parts)


def _pool_of(walk: Walk, island: Island, data: Quantized) -> ir.Expr:
    attrs = island.core.attrs
    x, is_nchw = to_nhwc(walk, data.expr, str(attrs.layout))
    padding = four_sides(attrs.padding)
    same = data.has_parameters_of(island.output)
    whole = not any(padding) or bool(attrs.count_include_pad)
    if whole and not same and walk.source != "tflite":
        return from_nhwc(walk, _averaging_conv(walk, island, data, x), is_nchw)
    if any(padding) and whole:
        border = PadAttributes((0, *padding[:2], 0), (0, *padding[2:], 0), data.zero_point)
        x, padding = walk.emit(PAD(border, x), "_pad"), (0, 0, 0, 0)
    clamp = island.clamp if same else (numerics.INT8_MIN, numerics.INT8_MAX)
    call = QAVG_POOL2D(pool_attributes(island.core, padding, clamp), x)
    if not same:
        call = clamp_output(
            walk, rescale(walk, data.with_expr(walk.emit(call)), island.output), island
        )
    return from_nhwc(walk, call, is_nchw)


def _averaging_conv(walk: Walk, island: Island, data: Quantized, x: ir.Expr) -> ir.Call:
    """A depthwise convolution by ones: it rounds once, to whatever scale the output has."""
    call, channels = island.core.attrs, int(x.ty.shape[3])
    if int(call.ceil_mode):
        raise UnsupportedError("pooling with ceil_mode", where=walk.name)
    size = pair(call.pool_size)
    real = data.scalar_scale / island.output.scalar_scale / (size[0] * size[1])
    ones = np.ones((channels, size[0] * size[1]), np.int8)
    scaling = channel_scaling(walk, np.array([real]), ones, data.zero_point)
    attrs = QDepthwiseConv2DAttributes(
        **requantization_fields(data, island, scaling),
        strides=pair(call.strides),
        padding=four_sides(call.padding),
        dilation=pair(call.dilation),
    )
    taps, bias = np.ones((*size, channels), np.int8), np.zeros(channels, np.int32)
    return QDEPTHWISE_CONV2D(attrs, x, constant(taps), constant(bias), *scaling.constants)


def _mean(walk: Walk, island: Island) -> ir.Expr | None:
    data = walk.quantized_of(island.core.args[0])
    if data is None:
        return None
    rank = len(data.expr.ty.shape)
    axes = sorted(int(axis) % rank for axis in island.core.attrs.axis or range(rank))
    return _mean_over(walk, island, data, axes, bool(island.core.attrs.keepdims))


def _mean_over(
    walk: Walk, island: Island, data: Quantized, axes: list[int], keep_dims: bool
) -> ir.Expr:
    count = int(np.prod([int(data.expr.ty.shape[axis]) for axis in axes]))
    real = data.scalar_scale / island.output.scalar_scale
    is_tflite = walk.source == "tflite"
    scaling = qmean.fold_count(real, count) if is_tflite else fixed_point(walk, real / count)
    points = (data.zero_point, island.output.zero_point)
    attrs = qmean.QMeanAttributes(tuple(axes), int(keep_dims), *points, *map(int, scaling))
    return clamp_output(walk, qmean.QMEAN(attrs, data.expr), island)


def _adaptive_avg_pool2d(walk: Walk, island: Island) -> ir.Expr | None:
    data = walk.quantized_of(island.core.args[0])
    size = [int(s) for s in island.core.attrs.output_size or (0,)]
    if data is None or set(size) != {1}:
        return None
    axes = [1, 2] if str(island.core.attrs.layout) == "NHWC" else [2, 3]
    return _mean_over(walk, island, data, axes, keep_dims=True)


def _softmax(walk: Walk, island: Island) -> ir.Expr | None:
    data = walk.quantized_of(island.core.args[0])
    rank = len(island.core.ty.shape)
    if data is None or int(island.core.attrs.axis) % rank != rank - 1:
        return None
    call = QSOFTMAX(QSoftmaxAttributes(data.scalar_scale), data.expr)
    native = Quantized(call, np.array([OUTPUT_SCALE], np.float32), OUTPUT_ZERO_POINT)
    if native.has_parameters_of(island.output):
        return call
    return rescale(walk, native.with_expr(walk.emit(call)), island.output)


def _concat(walk: Walk, island: Island) -> ir.Expr | None:
    fields = walk.value_of(island.core.args[0]).fields
    known = [walk.quantized_of(field) for field in fields]
    if any(field is None for field in known):
        return None
    tensors = [
        walk.emit(rescale(walk, field, island.output)) for field in known if field is not None
    ]
    axis = int(island.core.attrs.axis or 0) % len(island.core.ty.shape)
    return clamp_output(walk, CONCAT(ConcatAttributes(axis), *tensors), island)


POOLING: dict[str, Callable[[Walk, Island], ir.Expr | None]] = {
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "relax.mean": _mean,
    "relax.nn.softmax": _softmax,
    "relax.concat": _concat,
}
