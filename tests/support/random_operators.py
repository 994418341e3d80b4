"""Operators with every property drawn at random: `operator(seed)` is the same on every run.

Kinds take turns, so that any run of len(MAKERS) seeds has all of them. Numbers at the ends of
their ranges, and channel counts around the widths of tiles and vectors, come up more often than
chance would have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.support.calls import call_of
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count
from tvm_tiny.schedules.qsoftmax import QSOFTMAX, QSoftmaxAttributes

Generator = np.random.Generator
Pair = tuple[int, int]

MAX_CHANNELS = 70
MAX_WEIGHTS = 20_000
NOTABLE_CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
SQUARES = (3, 5, 7)
FRACTION_BITS = 7
OUTPUT_LEVELS = 40  # standard deviation of most outputs
MULTIPLIER_ENDS = (1 << 30, (1 << 31) - 1)


def operator(seed: int) -> Any:
    """Return a call of an operator."""
    return MAKERS[seed % len(MAKERS)](np.random.default_rng(seed))


# --- draws ------------------------------------------------------------------------------------


def _one_of(generator: Generator, values: Any) -> Any:
    return values[int(generator.integers(len(values)))]


def _chance(generator: Generator, probability: float) -> bool:
    return bool(generator.random() < probability)


def _between(generator: Generator, low: int, high: int) -> int:
    return int(generator.integers(low, high + 1))


def _channels(generator: Generator) -> int:
    if _chance(generator, 0.4):
        return int(_one_of(generator, NOTABLE_CHANNELS))
    return _between(generator, 1, MAX_CHANNELS)


def _zero_point(generator: Generator) -> int:
    ends = _chance(generator, 0.4)
    return int(_one_of(generator, (-128, 0, 127))) if ends else _between(generator, -128, 127)


def _clamp(generator: Generator, zero_point: int) -> dict[str, Any]:
    """Return no clamp, that of a ReLU, or any."""
    low, high = sorted(int(n) for n in generator.integers(-128, 128, 2))
    chosen = _one_of(generator, ((-128, 127), (zero_point, 127), (low, high)))
    return {"clamp_min": chosen[0], "clamp_max": chosen[1]}


def _geometry(generator: Generator, window: Pair) -> tuple[Pair, dict[str, Any]]:
    """Return an image size, and strides, padding and dilation of a window in it."""
    stride = _one_of(generator, (1, 1, 2, 3))
    strides = [stride if _chance(generator, 0.7) else _between(generator, 1, 3) for _ in window]
    is_dilated = _chance(generator, 0.25)
    dilation = [_between(generator, 1, 3) if is_dilated else 1 for _ in window]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    style = _one_of(generator, ("valid", "same", "any"))
    before, after = zip(*(_padding(generator, style, r) for r in reach), strict=True)
    smallest = [max(r - b - a, 1) for r, b, a in zip(reach, before, after, strict=True)]
    height, width = (_between(generator, s, r + 6) for s, r in zip(smallest, reach, strict=True))
    return (height, width), {
        "strides": tuple(strides),
        "padding": (*before, *after),
        "dilation": tuple(dilation),
    }


def _padding(generator: Generator, style: str, reach: int) -> Pair:
    if style == "any":
        return _between(generator, 0, reach - 1), _between(generator, 0, reach - 1)
    around = reach - 1 - _between(generator, 0, 1) if style == "same" else 0
    return max(around, 0) // 2, max(around + 1, 0) // 2 if around else 0


def _weights(generator: Generator, shape: tuple[int, ...]) -> Array:
    """Return weights of all int8, without -128, of its ends, small ones, or mostly zeros."""
    style = _one_of(generator, ("all", "usual", "ends", "small", "sparse"))
    if style == "ends":
        return generator.choice(np.array([-128, 127], np.int8), shape)
    low, high = {"all": (-128, 128), "small": (-3, 4)}.get(style, (-127, 128))
    weight = generator.integers(low, high, shape, np.int8)
    if style == "sparse":
        weight[generator.random(shape) < 0.7] = 0
    return weight


def _linear(
    generator: Generator, shape: tuple[int, ...], channel_axis: int
) -> tuple[dict[str, Any], list[Array]]:
    """Return requantisation fields, and weights, bias, multipliers and shifts of a layer."""
    weight = _weights(generator, shape)
    taps = np.moveaxis(weight, channel_axis, 0).reshape(shape[channel_axis], -1).astype(np.int64)
    input_zero_point, zero_point = _zero_point(generator), _zero_point(generator)
    largest = int(np.abs(taps).sum(axis=1).max()) * (128 + abs(input_zero_point))
    deviation = 1 + 100 * np.sqrt((taps**2).sum(axis=1).mean())
    bias = generator.normal(0, deviation, len(taps)).astype(np.int64)
    multiplier, shift = _scaling(generator, deviation, len(taps))
    fields = {"input_zero_point": input_zero_point, "output_zero_point": zero_point}
    fields |= _clamp(generator, zero_point)
    if _chance(generator, 0.25) and (largest + np.abs(bias).max()) << FRACTION_BITS < 1 << 29:
        fields["fraction_bits"] = FRACTION_BITS
        bias = (bias << FRACTION_BITS) + generator.integers(0, 1 << FRACTION_BITS, len(taps))
        shift = np.clip(shift - FRACTION_BITS, -30, 0)
    else:
        room = (1 << 30) // int(largest + np.abs(bias).max() + 1)
        shift = np.minimum(shift, max(room.bit_length() - 1, 0))
    return fields, [weight, bias.astype(np.int32), multiplier, shift.astype(np.int32)]


def _scaling(generator: Generator, deviation: float, channels: int) -> tuple[Array, Array]:
    """Return multipliers and shifts: alike, of a few shifts, of many, or with extremes."""
    spread = _one_of(generator, (0.0, 1.0, 1.0, 4.0))
    typical = 2.0 ** generator.uniform(-2, 4) if _chance(generator, 0.1) else 1 / deviation
    reals = OUTPUT_LEVELS * typical * 2.0 ** generator.uniform(-spread, spread, channels)
    reals = np.minimum(reals, 100.0)
    multiplier, shift = numerics.quantize_multiplier(reals)
    if _chance(generator, 0.2):
        odd = generator.random(channels) < 0.3
        multiplier[odd] = generator.choice(MULTIPLIER_ENDS, channels)[odd]
    if _chance(generator, 0.1):
        multiplier[0], shift[0] = numerics.quantize_multiplier(2.0**-40)
    return multiplier, shift


def _image(generator: Generator, size: Pair, channels: int) -> TensorSpec:
    return TensorSpec((_one_of(generator, (1, 1, 1, 2)), *size, channels), "int8")


# --- operators --------------------------------------------------------------------------------


def _convolution(generator: Generator, window: Pair, groups: int = 1) -> Any:
    depth, channels = _channels(generator), _channels(generator)
    if groups > 1:
        depth, channels = 1 + depth % 20, (1 + channels % 20) * groups
    most = max(MAX_WEIGHTS // (window[0] * window[1]), 1)
    depth = min(depth, max(most // channels, 1))
    size, geometry = _geometry(generator, window)
    fields, constants = _linear(generator, (channels, *window, depth), 0)
    attrs = QConv2DAttributes(**geometry, **fields, groups=groups)
    return call_of(QCONV2D, attrs, _image(generator, size, depth * groups), *constants)


def _pointwise(generator: Generator) -> Any:
    return _convolution(generator, (1, 1))


def _square_convolution(generator: Generator) -> Any:
    side = int(_one_of(generator, (2, *SQUARES)))
    return _convolution(generator, (side, side))


def _any_convolution(generator: Generator) -> Any:
    return _convolution(generator, _window(generator))


def _grouped_convolution(generator: Generator) -> Any:
    return _convolution(generator, _window(generator, 4), _between(generator, 2, 5))


def _first_convolution(generator: Generator) -> Any:
    """Few input channels, as the first layers of networks have."""
    window, depth = _one_of(generator, ((3, 3), (5, 5), (10, 4))), _one_of(generator, (1, 3))
    channels = _channels(generator)
    size, geometry = _geometry(generator, window)
    fields, constants = _linear(generator, (channels, *window, depth), 0)
    attrs = QConv2DAttributes(**geometry, **fields)
    return call_of(QCONV2D, attrs, _image(generator, size, depth), *constants)


def _depthwise(generator: Generator, window: Pair, multiplier: int = 1) -> Any:
    depth = max(_channels(generator) // multiplier, 1)
    size, geometry = _geometry(generator, window)
    fields, constants = _linear(generator, (*window, depth * multiplier), 2)
    attrs = QDepthwiseConv2DAttributes(**geometry, **fields)
    return call_of(QDEPTHWISE_CONV2D, attrs, _image(generator, size, depth), *constants)


def _square_depthwise(generator: Generator) -> Any:
    side = int(_one_of(generator, SQUARES))
    return _depthwise(generator, (side, side))


def _flat_depthwise(generator: Generator) -> Any:
    """Windows of k x 1 and 1 x k."""
    window = (_between(generator, 2, 9), 1)
    return _depthwise(generator, window if _chance(generator, 0.5) else window[::-1])


def _any_depthwise(generator: Generator) -> Any:
    return _depthwise(generator, _window(generator), int(_one_of(generator, (1, 1, 2, 3))))


def _window(generator: Generator, largest: int = 6) -> Pair:
    return _between(generator, 1, largest), _between(generator, 1, largest)


def _dense(generator: Generator) -> Any:
    rows, depth = int(_one_of(generator, (1, 1, 2, 5))), _between(generator, 1, 260)
    fields, constants = _linear(generator, (_channels(generator), depth), 0)
    data = TensorSpec((rows, depth), "int8")
    return call_of(QDENSE, QDenseAttributes(**fields), data, *constants)


def _operands(generator: Generator) -> list[TensorSpec]:
    """Return two images; in some cases one of them is a value per channel."""
    channels = _channels(generator)
    size = (_between(generator, 1, 7), _between(generator, 1, 7))
    shapes = [(1, *size, channels), (1, *size, channels)]
    if _chance(generator, 0.25):
        shapes[_between(generator, 0, 1)] = (1, 1, 1, channels)
    return [TensorSpec(shape, "int8") for shape in shapes]


def _add(generator: Generator) -> Any:
    scales = 2.0 ** generator.uniform(-3, 3, 3)
    points = [_zero_point(generator) for _ in scales]
    sign = int(_one_of(generator, (1, 1, -1)))
    attrs = qadd.attributes(tuple(map(float, scales)), tuple(points), sign)  # type: ignore[arg-type]
    attrs = replace(attrs, **_clamp(generator, points[2]))
    return call_of(qadd.QADD, attrs, *_operands(generator))


def _mul(generator: Generator) -> Any:
    scales = 2.0 ** generator.uniform(-6, 0, 3)
    points = [_zero_point(generator) for _ in scales]
    attrs = qmul.attributes(tuple(map(float, scales)), tuple(points))  # type: ignore[arg-type]
    attrs = replace(attrs, **_clamp(generator, points[2]))
    return call_of(qmul.QMUL, attrs, *_operands(generator))


def _pool(generator: Generator) -> Any:
    window = _window(generator)
    size, geometry = _geometry(generator, window)
    # only convolutions are dilated, and no window may lie wholly outside
    before, after = ([int(generator.integers(0, k)) for k in window] for _ in range(2))
    geometry |= {"dilation": (1, 1), "padding": (*before, *after)}
    size = (max(size[0], window[0]), max(size[1], window[1]))
    attrs = QPool2DAttributes(**geometry, size=window, **_clamp(generator, 0))
    kind = _one_of(generator, (QAVG_POOL2D, QMAX_POOL2D))
    return call_of(kind, attrs, _image(generator, size, _channels(generator)))


def _mean(generator: Generator) -> Any:
    axes = _one_of(generator, ((1, 2), (1, 2), (1,), (2,), (3,), (1, 2, 3)))
    size = (_between(generator, 1, 9), _between(generator, 1, 9))
    data = _image(generator, size, _channels(generator))
    count = int(np.prod([data.shape[axis] for axis in axes]))
    scaling = fold_count(float(2.0 ** generator.uniform(-3, 5)), count)
    points = _zero_point(generator), _zero_point(generator)
    attrs = QMeanAttributes(axes, _between(generator, 0, 1), *points, *scaling)
    return call_of(QMEAN, attrs, data)


def _softmax(generator: Generator) -> Any:
    data = TensorSpec((_between(generator, 1, 3), _channels(generator)), "int8")
    return call_of(QSOFTMAX, QSoftmaxAttributes(float(2.0 ** generator.uniform(-8, 2))), data)


Maker = Callable[[Generator], Any]
MAKERS: tuple[Maker, ...] = (
    *(_pointwise, _square_convolution, _square_depthwise, _dense, _add),
    *(_pointwise, _any_convolution, _flat_depthwise, _first_convolution, _mul),
    *(_pointwise, _square_convolution, _square_depthwise, _dense, _pool),
    *(_grouped_convolution, _any_convolution, _any_depthwise, _square_depthwise, _pool),
    *(_first_convolution, _any_depthwise, _mean, _add, _softmax),
)
