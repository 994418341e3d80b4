"""Rules of QuantizedToTiny: which integer operator computes a float operator between Q and DQ.

QUANTIZED maps the float operator under a `quantize` to a function (walk, island) -> expression.
TRANSPARENT holds operators that move values without changing them: they act on the integers.
INTEGER holds operators that frontends already apply to int8 tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes import _float_tables as float_tables
from tvm_tiny.relay_passes._quantized import Quantized, constant
from tvm_tiny.relay_passes._tflite_activations import activation as tflite_activation
from tvm_tiny.schedules import numerics, qadd, qmean, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.lookup import DOMAIN, LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qsoftmax import (
    OUTPUT_SCALE,
    OUTPUT_ZERO_POINT,
    QSOFTMAX,
    QSoftmaxAttributes,
)
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

if TYPE_CHECKING:
    from tvm_tiny.relay_passes.quantized_to_tiny import Walk

Array = np.ndarray[Any, Any]
STRUCTURAL = ("relax.reshape",)  # operators of Relax that stay as they are
NHWC_FROM_NCHW, NCHW_FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class Island:
    """quantize(activations(core + bias)): everything between the integers on both sides."""

    core: ir.Call
    bias: ir.Expr | None
    low: float
    high: float
    output: Quantized

    @property
    def clamp(self) -> tuple[int, int]:
        """The activations as bounds on the output's integers."""
        return (self._integer(self.low), self._integer(self.high))

    def _integer(self, bound: float) -> int:
        if np.isinf(bound):
            return numerics.INT8_MIN if bound < 0 else numerics.INT8_MAX
        scaled = numerics.round_half_away(np.float32(bound) / np.float32(self.output.scalar_scale))
        integer = int(scaled) + self.output.zero_point
        return max(numerics.INT8_MIN, min(numerics.INT8_MAX, integer))


def quantize(walk: Walk, data: ir.Expr, output: Quantized) -> ir.Expr | None:
    """The integers of `data` under the output's parameters, or None if no rule applies."""
    known = walk.quantized_of(data)
    if known is not None:
        return rescale(walk, known, output)
    if walk.value_of(data) is data and output.scale.size == 1:  # a float input of the model
        attrs = QuantizeAttributes(output.scalar_scale, output.zero_point)
        return QUANTIZE(attrs, data)
    island = _island(walk, data, output)
    rule = QUANTIZED.get(island.core.op.name) if island is not None else None
    new = rule(walk, island) if rule is not None and island is not None else None
    new = new if new is not None else _table(walk, data, output)
    if new is None and rule is not None and island is not None:
        borrowed = [walk.borrow(argument) for argument in island.core.args]
        new = rule(walk, island) if any(borrowed) else None
    return new


def rescale(walk: Walk, known: Quantized, output: Quantized) -> ir.Expr:
    """The same real values under other parameters: nothing, or a table."""
    if known.has_parameters_of(output):
        return known.expr
    if walk.source == "tflite":
        real = known.scalar_scale / output.scalar_scale
        scaled = numerics.requantize(DOMAIN - known.zero_point, *numerics.quantize_multiplier(real))
    else:
        values = np.float32(known.scalar_scale) * (DOMAIN - known.zero_point).astype(np.float32)
        scaled = np.round(values / np.float32(output.scalar_scale))
    return lookup("rescale", known.expr, numerics.clamp_int8(scaled + output.zero_point))


def lookup(function: str, data: ir.Expr, table: Array) -> ir.Expr:
    """A table look-up call."""
    return LOOKUP(LookupAttributes(function), data, constant(table.astype(np.int8)))


def _island(walk: Walk, data: ir.Expr, output: Quantized) -> Island | None:
    low, high, value = -np.inf, np.inf, walk.value_of(data)
    while isinstance(value, ir.Call) and value.op.name in ACTIVATIONS:
        bounds = ACTIVATIONS[value.op.name](value)
        low, high = max(low, bounds[0]), min(high, bounds[1])
        value = walk.value_of(value.args[0])
    if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op):
        return None
    bias = None
    if value.op.name == "relax.add":
        inner = [walk.value_of(argument) for argument in value.args]
        for core, other in ((inner[0], value.args[1]), (inner[1], value.args[0])):
            if getattr(getattr(core, "op", None), "name", "") in WITH_BIAS:
                value, bias = core, other
                break
    return Island(value, bias, low, high, output)


ACTIVATIONS: dict[str, Callable[[ir.Call], tuple[float, float]]] = {
    "relax.nn.relu": lambda call: (0.0, np.inf),
    "relax.nn.relu6": lambda call: (0.0, 6.0),
    "relax.clip": lambda call: (float(call.args[1].value), float(call.args[2].value)),
}
WITH_BIAS = ("relax.nn.conv2d", "relax.matmul")


def _table(walk: Walk, data: ir.Expr, output: Quantized) -> ir.Expr | None:
    """Any element-wise function of one quantised tensor, as a table."""
    if walk.source == "tflite":  # computed in fixed point, which a float table misses
        known_table = tflite_activation(walk, walk.value_of(data), output)
        return None if known_table is None else lookup(*known_table)
    found = _element_wise(walk, data)
    if found is None:
        return None
    known, values = found
    integers = np.round(values / output.scalar_scale) + output.zero_point
    name = walk.value_of(data).op.name.rpartition(".")[2]
    return lookup(name, known.expr, numerics.clamp_int8(integers))


def _element_wise(walk: Walk, data: ir.Expr) -> tuple[Quantized, Array] | None:
    """The quantised tensor that a float depends on element by element, and its 256 values."""
    found = float_tables.leaves(data, walk.bindings, lambda v: walk.quantized_of(v) is not None)
    if len(found) != 1:
        return None
    (leaf,) = found
    known = walk.quantized_of(leaf)
    if known is None or known.is_constant or known.scale.size != 1:
        return None
    domain = known.scalar_scale * (DOMAIN - known.zero_point).astype(np.float64)
    values = float_tables.evaluate(data, walk.bindings, leaf, domain)
    return None if values is None else (known, np.nan_to_num(values))


def own_parameters(walk: Walk, data: ir.Expr) -> Quantized | None:
    """Scale and zero point that just hold all values of an element-wise function."""
    found = _element_wise(walk, data)
    if found is None:
        return None
    low, high = min(found[1].min(), 0.0), max(found[1].max(), 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    zero_point = round(numerics.INT8_MIN - low / float(scale))
    return Quantized(data, np.array([scale], np.float32), zero_point)


# Convolutions and dense layers


LONGEST_FOLDED = 11  # beyond this the bits that a shorter multiplier lacks weigh more


def _fixed_point(walk: Walk, reals: Any) -> tuple[Array, Array]:
    """Multipliers and shifts of factors.

    TensorFlow Lite rounds once after the multiplier and again after the shift to the right. Other
    sources round once: there a multiplier with fewer bits takes in its shift to the right.
    """
    multiplier, shift = numerics.quantize_multiplier(reals)
    if walk.source == "tflite":
        return multiplier, shift
    right = np.where((shift < 0) & (shift >= -LONGEST_FOLDED), -shift, 0).astype(np.int64)
    folded = (multiplier.astype(np.int64) + ((1 << right) >> 1)) >> right
    return folded.astype(np.int32), (shift + right).astype(np.int32)


FRACTION_BITS = 7  # of a bias, below the unit of a sum; what the fast kernels know
LARGEST_REAL = 1.0  # a larger factor would have to shift to the left


@dataclass(frozen=True, eq=False)
class ChannelScaling:
    """Multipliers and shifts of a layer's channels, and how many fraction bits its bias has."""

    multiplier: Array
    shift: Array
    fraction_bits: int

    @property
    def constants(self) -> tuple[ir.Expr, ir.Expr]:
        """As arguments of a call."""
        return constant(self.multiplier), constant(self.shift)


def _channel_scaling(walk: Walk, reals: Array, taps: Array, zero_point: int) -> ChannelScaling:
    """As TensorFlow Lite has it; else with a bias so fine that one rounding is left.

    `taps` is (channels, taps): where sums could not hold the fraction too, the multiplier takes in
    its shift instead.
    """
    reals = np.broadcast_to(reals, (len(taps),))
    reach = max(numerics.INT8_MAX - zero_point, zero_point - numerics.INT8_MIN)
    largest = np.abs(taps.astype(np.int64)).sum(axis=1).max() * reach
    fits = largest << FRACTION_BITS < 1 << 29 and np.all(np.abs(reals) < LARGEST_REAL)
    if walk.source == "tflite" or not fits:
        return ChannelScaling(*_fixed_point(walk, reals), 0)
    multiplier, shift = numerics.quantize_multiplier(reals)
    return ChannelScaling(multiplier, np.maximum(shift - FRACTION_BITS, -30), FRACTION_BITS)


def _bias(
    walk: Walk, bias: ir.Expr | None, unit: Array, channels: int, fraction_bits: int
) -> Array | None:
    """The bias in units of input scale x weight scale x 2^-fraction_bits; None if not constant."""
    unit = unit / 2.0**fraction_bits
    if bias is None:
        return np.zeros(channels, np.int32)
    known = walk.quantized_of(bias)
    if known is not None and known.is_constant and known.integers.size == channels:
        integers = known.integers.reshape(-1).astype(np.int64) - known.zero_point
        same_unit = np.allclose(known.scale, unit * 2.0**fraction_bits, rtol=1e-5, atol=0)
        if known.integers.dtype == np.int32 and same_unit:
            return _to_int32(integers << fraction_bits)
        values = known.values.reshape(-1).astype(np.float64)
    else:
        plain = _constant_value(walk, bias)
        if plain is None or plain.size not in (1, channels):
            return None
        values = np.broadcast_to(plain.reshape(-1), (channels,)).astype(np.float64)
    return _to_int32(np.round(values / unit))


def _to_int32(values: Array) -> Array:
    return np.clip(values, -(1 << 31), (1 << 31) - 1).astype(np.int32)


def _constant_value(walk: Walk, expr: ir.Expr) -> Array | None:
    """The array of a constant, looked at through reshapes and dequantisation."""
    known = walk.quantized_of(expr)
    if known is not None:
        return known.values if known.is_constant else None
    value = walk.value_of(expr)
    if isinstance(value, ir.GenericConst):
        return value.value.numpy()
    if isinstance(value, ir.Call) and value.op.name in ("relax.reshape", "relax.expand_dims"):
        return _constant_value(walk, value.args[0])
    return None


def _operands(walk: Walk, core: ir.Call) -> tuple[Quantized, Quantized] | None:
    data, weight = (walk.quantized_of(argument) for argument in core.args[:2])
    if data is None or weight is None or not weight.is_constant or weight.zero_point != 0:
        return None
    return (data, weight) if data.scale.size == 1 else None


def _conv2d(walk: Walk, island: Island) -> ir.Expr | None:
    operands = _operands(walk, island.core)
    if operands is None:
        return None
    data, weight = operands
    attrs = island.core.attrs
    integers = _to_ohwi(weight.integers, str(attrs.kernel_layout))
    channels, groups = len(integers), int(attrs.groups)
    unit = np.float64(data.scalar_scale) * weight.scale.astype(np.float64)
    reals, taps = unit / island.output.scalar_scale, integers.reshape(channels, -1)
    scaling = _channel_scaling(walk, reals, taps, data.zero_point)
    bias = _bias(walk, island.bias, unit, channels, scaling.fraction_bits)
    if bias is None:
        return None
    window: dict[str, Any] = {
        "strides": _pair(attrs.strides),
        "padding": _padding(attrs.padding),
        "dilation": _pair(attrs.dilation),
    }
    requantization = _requantization(data, island, scaling)
    x, is_nchw = _to_nhwc(walk, data.expr, str(attrs.data_layout))
    depth = int(x.ty.shape[3])
    tail = (constant(bias), *scaling.constants)
    if groups == depth > 1 and integers.shape[3] == 1:
        taps = constant(np.moveaxis(integers[..., 0], 0, -1))
        call = QDEPTHWISE_CONV2D(
            QDepthwiseConv2DAttributes(**requantization, **window), x, taps, *tail
        )
    else:
        call = QCONV2D(
            QConv2DAttributes(**requantization, **window, groups=groups),
            x,
            constant(integers),
            *tail,
        )
    return _from_nhwc(walk, call, is_nchw)


def _to_ohwi(weight: Array, layout: str) -> Array:
    # In HWOI the output channels of a depthwise convolution stand before a depth of one.
    return weight.transpose([layout.index(axis) for axis in "OHWI"])


def _requantization(data: Quantized, island: Island, scaling: ChannelScaling) -> dict[str, Any]:
    low, high = island.clamp
    return {
        "input_zero_point": data.zero_point,
        "output_zero_point": island.output.zero_point,
        "clamp_min": low,
        "clamp_max": high,
        "fraction_bits": scaling.fraction_bits,
    }


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _padding(padding: Any) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of one, two or four numbers."""
    values = [int(p) for p in padding]
    top, left, bottom, right = values * (4 // len(values))
    return top, left, bottom, right


def _to_nhwc(walk: Walk, data: ir.Expr, layout: str) -> tuple[ir.Expr, bool]:
    if layout == "NHWC":
        return data, False
    if layout != "NCHW":
        raise UnsupportedError(f"layout {layout}", where=walk.name)
    return walk.emit(TRANSPOSE(TransposeAttributes(NHWC_FROM_NCHW), data), "_nhwc"), True


def _from_nhwc(walk: Walk, call: ir.Expr, is_nchw: bool) -> ir.Expr:
    if not is_nchw:
        return call
    return TRANSPOSE(TransposeAttributes(NCHW_FROM_NHWC), walk.emit(call))


def _matmul(walk: Walk, island: Island) -> ir.Expr | None:
    operands = _operands(walk, island.core)
    if operands is None or operands[1].integers.ndim != 2:
        return None
    data, weight = operands
    integers = weight.integers.T
    channels = len(integers)
    # TensorFlow Lite multiplies the two scales in float32 here, unlike in convolutions.
    unit = (np.float32(data.scalar_scale) * weight.scale.astype(np.float32)).astype(np.float64)
    reals = unit / island.output.scalar_scale
    scaling = _channel_scaling(walk, reals, integers, data.zero_point)
    bias = _bias(walk, island.bias, unit, channels, scaling.fraction_bits)
    if bias is None:
        return None
    attrs = QDenseAttributes(**_requantization(data, island, scaling))
    return QDENSE(attrs, data.expr, constant(integers), constant(bias), *scaling.constants)


# Element-wise


def _binary(make: Callable[..., Any], operator: Any, name: str) -> Callable[..., ir.Expr | None]:
    def rule(walk: Walk, island: Island) -> ir.Expr | None:
        operands = [walk.quantized_of(argument) for argument in island.core.args]
        a, b = operands
        if a is None or b is None or a.scale.size != 1 or b.scale.size != 1:
            return None
        if a.is_constant and b.is_constant:
            return None
        scales = (a.scalar_scale, b.scalar_scale, island.output.scalar_scale)
        attrs = make(scales, (a.zero_point, b.zero_point, island.output.zero_point))
        low, high = island.clamp
        changes = {"clamp_min": low, "clamp_max": high}
        if operator is qmul.QMUL:
            scaling = _fixed_point(walk, scales[0] * scales[1] / scales[2])
            changes |= zip(("multiplier", "shift"), map(int, scaling), strict=True)
        attrs = type(attrs)(**{**attrs.as_dict(), **changes})
        table = _scalar_table(operator, attrs, name, a, b)
        return operator(attrs, a.expr, b.expr) if table is None else table

    return rule


def _scalar_table(
    operator: Any, attrs: Any, name: str, a: Quantized, b: Quantized
) -> ir.Expr | None:
    """With one constant number as operand the result depends on one int8 only: a table."""
    for other, values in ((b, (DOMAIN, None)), (a, (None, DOMAIN))):
        if other.is_constant and other.integers.size == 1:
            number = other.integers.reshape(-1).astype(np.int64)
            arguments = [number if value is None else value for value in values]
            data = a if other is b else b
            return lookup(f"{name}_scalar", data.expr, operator.meaning(attrs, *arguments))
    return None


# Pooling, reductions, softmax


def _pool_attributes(
    call: ir.Call, padding: tuple[int, int, int, int], clamp: tuple[int, int]
) -> Any:
    attrs = call.attrs
    if int(attrs.ceil_mode):
        raise UnsupportedError("pooling with ceil_mode", where=str(call.op.name))
    return QPool2DAttributes(
        strides=_pair(attrs.strides),
        padding=padding,
        dilation=_pair(attrs.dilation),
        size=_pair(attrs.pool_size),
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
    x, is_nchw = _to_nhwc(walk, data.expr, str(attrs.layout))
    padding = _padding(attrs.padding)
    same = data.has_parameters_of(island.output)
    whole = not any(padding) or bool(attrs.count_include_pad)
    if whole and not same and walk.source != "tflite":
        return _from_nhwc(walk, _averaging_conv(walk, island, data, x), is_nchw)
    if any(padding) and whole:
        border = PadAttributes((0, *padding[:2], 0), (0, *padding[2:], 0), data.zero_point)
        x, padding = walk.emit(PAD(border, x), "_pad"), (0, 0, 0, 0)
    clamp = island.clamp if same else (numerics.INT8_MIN, numerics.INT8_MAX)
    call = QAVG_POOL2D(_pool_attributes(island.core, padding, clamp), x)
    if not same:
        call = _clamp(walk, rescale(walk, data.with_expr(walk.emit(call)), island.output), island)
    return _from_nhwc(walk, call, is_nchw)


def _averaging_conv(walk: Walk, island: Island, data: Quantized, x: ir.Expr) -> ir.Call:
    """A depthwise convolution by ones: it rounds once, to whatever scale the output has."""
    call, channels = island.core.attrs, int(x.ty.shape[3])
    if int(call.ceil_mode):
        raise UnsupportedError("pooling with ceil_mode", where=walk.name)
    size = _pair(call.pool_size)
    real = data.scalar_scale / island.output.scalar_scale / (size[0] * size[1])
    ones = np.ones((channels, size[0] * size[1]), np.int8)
    scaling = _channel_scaling(walk, np.array([real]), ones, data.zero_point)
    attrs = QDepthwiseConv2DAttributes(
        **_requantization(data, island, scaling),
        strides=_pair(call.strides),
        padding=_padding(call.padding),
        dilation=_pair(call.dilation),
    )
    taps, bias = np.ones((*size, channels), np.int8), np.zeros(channels, np.int32)
    return QDEPTHWISE_CONV2D(attrs, x, constant(taps), constant(bias), *scaling.constants)


def _clamp(walk: Walk, data: ir.Expr, island: Island) -> ir.Expr:
    low, high = island.clamp
    if (low, high) == (numerics.INT8_MIN, numerics.INT8_MAX):
        return data
    return clip(walk.emit(data), low, high)


def clip(data: ir.Expr, low: int, high: int) -> ir.Expr:
    """A clamp of integers, as a table; FoldClamps moves it into the producer where it can."""
    return lookup(f"clip_{low}_{high}".replace("-", "m"), data, np.clip(DOMAIN, low, high))


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
    scaling = qmean.fold_count(real, count) if is_tflite else _fixed_point(walk, real / count)
    points = (data.zero_point, island.output.zero_point)
    attrs = qmean.QMeanAttributes(tuple(axes), int(keep_dims), *points, *map(int, scaling))
    return _clamp(walk, qmean.QMEAN(attrs, data.expr), island)


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
    return _clamp(walk, CONCAT(ConcatAttributes(axis), *tensors), island)


QUANTIZED: dict[str, Callable[[Walk, Island], ir.Expr | None]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.add": _binary(qadd.attributes, qadd.QADD, "add"),
    "relax.subtract": _binary(lambda s, z: qadd.attributes(s, z, sign=-1), qadd.QADD, "sub"),
    "relax.multiply": _binary(qmul.attributes, qmul.QMUL, "mul"),
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "relax.mean": _mean,
    "relax.nn.softmax": _softmax,
    "relax.concat": _concat,
}

# Operators that only move values


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
    x, is_nchw = _to_nhwc(walk, data, str(call.attrs.layout))
    clamp = (numerics.INT8_MIN, numerics.INT8_MAX)
    attrs = _pool_attributes(call, _padding(call.attrs.padding), clamp)
    return _from_nhwc(walk, QMAX_POOL2D(attrs, x), is_nchw)


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
    attrs = call.attrs
    x, is_nchw = _to_nhwc(walk, data, str(attrs.layout))
    is_nhwc_output = [int(d) for d in call.ty.shape]
    target = is_nhwc_output[2:] if is_nchw else is_nhwc_output[1:3]
    size = [int(d) for d in x.ty.shape][1:3]
    whole = all(t % s == 0 for t, s in zip(target, size, strict=True))
    if str(attrs.method) != "nearest_neighbor" or not whole:
        return None
    factors = (target[0] // size[0], target[1] // size[1])
    rounding = (str(attrs.coordinate_transformation_mode), str(attrs.rounding_method))
    if not all(_repeats(s, f, *rounding) for s, f in zip(size, factors, strict=True)):
        return None
    return _from_nhwc(walk, RESIZE(ResizeAttributes(factors), x), is_nchw)


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


def _quantized_first(name: str) -> Callable[[Walk, Island], ir.Expr | None]:
    """Of a float that is not known as integers: moving values and rounding them commute."""

    def rule(walk: Walk, island: Island) -> ir.Expr | None:
        argument, own_name = island.core.args[0], walk.name
        walk.name = getattr(argument, "name", own_name)
        moved = quantize(walk, argument, island.output)
        moved = moved if moved is None or isinstance(moved, ir.Var) else walk.emit(moved)
        walk.name = own_name
        call = None if moved is None else MOVES[name](walk, island.core, moved)
        return None if call is None else _clamp(walk, call, island)

    return rule


QUANTIZED |= {name: _quantized_first(name) for name in MOVES}
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


INTEGER: dict[str, Callable[[Walk, ir.Call], ir.Expr | None]] = {
    name: _on_integers(rule) for name, rule in MOVES.items()
} | {
    "relax.nn.pad": _pad_integer,
    "relax.clip": _clip_integer,
    "relax.concat": _concat_integer,
}
