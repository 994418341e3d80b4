from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.relay_passes.modules import (
    assert_same_values,
    is_unchanged,
    looked_up,
    module,
    tensor,
    transposed,
)
from tests.support.evaluate_tiny import calls
from tvm_tiny.relay_passes import drop_dead_channels
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.drop_dead_channels import DropDeadChannels
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import Array, attributes_of, spec_of
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes

ZERO_POINT = -5  # of every tensor, so that a dead channel without bias holds it
SHAPE = (1, 4, 5, 6)
UNPADDED, PADDED = (0, 0, 0, 0), (1, 1, 1, 1)
Padding = tuple[int, int, int, int]


def tail(bias: Array) -> list[Any]:
    numbers = numerics.quantize_multiplier(np.full(len(bias), 0.004))
    return [constant(array) for array in (bias.astype(np.int32), *numbers)]


def scaling(padding: Padding) -> dict[str, Any]:
    return {
        "input_zero_point": ZERO_POINT,
        "output_zero_point": ZERO_POINT,
        "clamp_min": -128,
        "clamp_max": 127,
        "strides": (1, 1),
        "padding": padding,
        "dilation": (1, 1),
    }


def conv(
    data: Any,
    depth: int,
    channels: int,
    dead: tuple[int, ...] = (),
    *,
    value: int = 0,
    kernel: int = 1,
    padding: Padding = UNPADDED,
) -> Any:
    """Return a convolution; the weights of `dead` channels are zero, their bias gives `value`."""
    generator = np.random.default_rng(depth * 100 + channels)
    weight = generator.integers(-128, 128, (channels, kernel, kernel, depth), np.int8)
    bias = generator.integers(-500, 500, channels)
    weight[list(dead)] = 0
    bias[list(dead)] = value * 250
    attrs = QConv2DAttributes(**scaling(padding))
    return QCONV2D(attrs, data, constant(weight), *tail(bias))


def depthwise(data: Any, channels: int, padding: Padding = PADDED) -> Any:
    weight = np.random.default_rng(channels).integers(-128, 128, (3, 3, channels), np.int8)
    bias = np.random.default_rng(channels + 1).integers(-500, 500, channels)
    attrs = QDepthwiseConv2DAttributes(**scaling(padding))
    return QDEPTHWISE_CONV2D(attrs, data, constant(weight), *tail(bias))


def channels_of(mod: Any) -> list[int]:
    """Return how many channels every layer's result has."""
    return [spec_of(call).shape[-1] for call in calls(mod)]


DEAD = (1, 3, 4, 9)
POOL = QPool2DAttributes(
    strides=(1, 1), padding=UNPADDED, dilation=(1, 1), size=(2, 2), clamp_min=-128, clamp_max=127
)


def added(first: Any, second: Any) -> Any:
    attrs = qadd.attributes((0.1, 0.1, 0.2), (ZERO_POINT,) * 3)
    return qadd.QADD(attrs, first, second)


def dense(data: Any, depth: int, channels: int) -> Any:
    weight = np.random.default_rng(depth).integers(-128, 128, (channels, depth), np.int8)
    attrs = QDenseAttributes(ZERO_POINT, ZERO_POINT, -128, 127)
    return QDENSE(attrs, data, constant(weight), *tail(np.arange(channels)))


def two(first: dict[str, Any], second: dict[str, Any]) -> Any:
    """Return a module of two convolutions, the first with dead channels among twelve."""

    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, DEAD, **first)), 12, 8, **second))

    return module([tensor("x", SHAPE)], body)


@pytest.mark.parametrize("value", [0, 7, -30])
def test_a_pointwise_reader_folds_any_value(value: int) -> None:
    before = two({"value": value}, {})
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8]
    assert_same_values(before, after)


def test_a_padded_reader_folds_the_zero_point() -> None:
    before = two({}, {"kernel": 3, "padding": PADDED})
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8]
    assert_same_values(before, after)


def test_a_padded_reader_keeps_any_other_value() -> None:
    before = two({"value": 7}, {"kernel": 3, "padding": PADDED})
    assert is_unchanged(before, DropDeadChannels())


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("padding", [PADDED, UNPADDED], ids=["padded", "unpadded"])
def test_values_through_a_depthwise_convolution(value: int, padding: Padding) -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=value))
        return emit(conv(emit(depthwise(first, 12, padding)), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert_same_values(before, after)
    if value == 0 or padding == UNPADDED:
        assert channels_of(after) == [8, 8, 8]


def test_an_output_keeps_its_channels() -> None:
    before = module([tensor("x", SHAPE)], lambda emit, x: emit(conv(x, 6, 12, DEAD)))
    assert is_unchanged(before, DropDeadChannels())


@pytest.mark.parametrize("other", ["add", "pool"])
def test_an_output_behind_other_operators_keeps_its_channels(other: str) -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD))
        second = emit(conv(first, 12, 12))
        if other == "pool":
            first, second = (emit(QAVG_POOL2D(POOL, data)) for data in (first, second))
        return emit(added(second, first))

    before = module([tensor("x", SHAPE)], body)
    assert is_unchanged(before, DropDeadChannels())


# What hands on channels


def lookup(emit: Any, data: Any) -> Any:
    return emit(looked_up(data))


def spatial_pad(emit: Any, data: Any) -> Any:
    return emit(PAD(PadAttributes((0, 1, 2, 0), (0, 0, 1, 0), 7), data))


def mean(emit: Any, data: Any) -> Any:
    return emit(QMEAN(QMeanAttributes((1, 2), 1, ZERO_POINT, 3, 1 << 30, -3), data))


def constant_added(emit: Any, data: Any) -> Any:
    offsets = constant(np.arange(12, dtype=np.int8))
    return emit(added(data, offsets))


def itself_added(emit: Any, data: Any) -> Any:
    return emit(added(data, emit(looked_up(data))))


def product(emit: Any, data: Any) -> Any:
    attrs = qmul.attributes((0.1, 0.1, 0.05), (ZERO_POINT,) * 3)
    return emit(qmul.QMUL(attrs, data, mean(emit, data)))


def transpose(emit: Any, data: Any) -> Any:
    return emit(transposed(data, (0, 2, 1, 3)))


CARRIERS = {
    "avg_pool": lambda emit, data: emit(QAVG_POOL2D(POOL, data)),
    "max_pool": lambda emit, data: emit(QMAX_POOL2D(POOL, data)),
    "resize": lambda emit, data: emit(RESIZE(ResizeAttributes((2, 1)), data)),
    "lookup": lookup,
    "mean": mean,
    "constant_added": constant_added,
    "itself_added": itself_added,
    "product": product,
    "transpose": transpose,
}


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("value", [0, 7])
def test_values_through_other_operators(name: str, value: int) -> None:
    def body(emit: Any, x: Any) -> Any:
        data = CARRIERS[name](emit, emit(conv(x, 6, 12, DEAD, value=value)))
        return emit(conv(data, 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert set(channels_of(after)) == {8}
    assert_same_values(before, after)


def test_a_border_that_differs_keeps_the_channels() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(conv(spatial_pad(emit, emit(conv(x, 6, 12, DEAD))), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    assert is_unchanged(before, DropDeadChannels())


def test_a_border_of_the_same_value_lets_them_go() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=7 - ZERO_POINT))
        return emit(conv(spatial_pad(emit, first), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8, 8]
    assert_same_values(before, after)


@pytest.mark.parametrize("shape", [(1, 12), (1, 240)], ids=["pooled", "positions"])
def test_values_through_a_reshape_to_a_dense_layer(shape: tuple[int, int]) -> None:
    def body(emit: Any, x: Any) -> Any:
        data = emit(conv(x, 6, 12, DEAD, value=7))
        if shape == (1, 12):
            data = mean(emit, data)
        return emit(dense(emit(relax.op.reshape(data, shape)), shape[1], 3))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after)[0] == 8
    assert calls(after)[-1].args[1].value.numpy().shape == (3, shape[1] * 8 // 12)
    assert_same_values(before, after)


def test_a_reshape_that_splits_channels_keeps_them() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD))
        return emit(conv(emit(relax.op.reshape(first, (1, 8, 5, 6))), 6, 8))

    assert is_unchanged(module([tensor("x", SHAPE)], body), DropDeadChannels())


@pytest.mark.parametrize("axis", [1, 3])
def test_values_through_a_concatenation(axis: int) -> None:
    def body(emit: Any, x: Any) -> Any:
        parts = [emit(conv(x, 6, 12, DEAD, value=7)), emit(conv(x, 6, 12, DEAD, value=7))]
        return emit(conv(emit(CONCAT(ConcatAttributes(axis), *parts)), 12 if axis == 1 else 24, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8, 8 if axis == 1 else 16, 8]
    assert_same_values(before, after)


def test_values_through_a_depthwise_convolution_that_multiplies_channels() -> None:
    def body(emit: Any, x: Any) -> Any:
        data = emit(depthwise(emit(conv(x, 6, 12, DEAD)), 24))
        return emit(conv(data, 24, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 16, 8]
    assert_same_values(before, after)


def test_a_grouped_convolution_keeps_its_channels() -> None:
    def body(emit: Any, x: Any) -> Any:
        attrs = QConv2DAttributes(**scaling(UNPADDED), groups=2)
        weight = np.random.default_rng(0).integers(-128, 128, (8, 1, 1, 6), np.int8)
        data = emit(conv(x, 6, 12, DEAD))
        return emit(QCONV2D(attrs, data, constant(weight), *tail(np.arange(8))))

    assert is_unchanged(module([tensor("x", SHAPE)], body), DropDeadChannels())


# What is known


def test_a_border_that_a_clamp_hides_is_known() -> None:
    """The channel holds 7; the padded layer maps it below its clamp, at the border as inside."""

    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=7))
        attrs = QDepthwiseConv2DAttributes(**scaling(PADDED) | {"clamp_min": ZERO_POINT})
        weight = np.random.default_rng(1).integers(-128, 128, (3, 3, 12), np.int8)
        weight[..., list(DEAD)] = -np.abs(weight[..., list(DEAD)] // 2)
        second = emit(QDEPTHWISE_CONV2D(attrs, first, constant(weight), *tail(np.zeros(12))))
        return emit(conv(second, 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8, 8]
    assert_same_values(before, after)


def test_a_border_that_shows_keeps_the_channels() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=7))
        return emit(conv(emit(depthwise(first, 12)), 12, 8))

    assert is_unchanged(module([tensor("x", SHAPE)], body), DropDeadChannels())


@pytest.mark.parametrize("low", [100, -128], ids=["narrow", "wide"])
def test_bounds_of_the_input_decide(low: int) -> None:
    """A weight of two and a scale of 1/250 round all of 105 ... 110 to one value."""

    def body(emit: Any, x: Any) -> Any:
        attrs = QConv2DAttributes(**scaling(UNPADDED) | {"clamp_min": low, "clamp_max": 105})
        weight = np.random.default_rng(0).integers(-128, 128, (12, 1, 1, 6), np.int8)
        first = emit(QCONV2D(attrs, x, constant(weight), *tail(np.zeros(12))))
        narrow = np.random.default_rng(1).integers(-20, 20, (12, 1, 1, 12), np.int8)
        narrow[list(DEAD)] = 2 * np.eye(12, dtype=np.int8)[0]
        attrs = QConv2DAttributes(**scaling(UNPADDED))
        second = emit(QCONV2D(attrs, first, constant(narrow), *tail(np.zeros(12))))
        return emit(conv(second, 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [12, 8 if low == 100 else 12, 8]
    assert_same_values(before, after)


def test_a_bias_beyond_its_range_keeps_the_channels() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=7))
        attrs = QConv2DAttributes(**scaling(UNPADDED))
        weight = np.full((8, 1, 1, 12), 100, np.int8)
        weight[..., 0] = 1
        parameters = tail(np.full(8, (1 << 31) - 1))
        parameters[1] = constant(np.full(8, 1 << 30, np.int32))
        return emit(QCONV2D(attrs, first, constant(weight), *parameters))

    assert is_unchanged(module([tensor("x", SHAPE)], body), DropDeadChannels())


# What is read


def unread(channels: int, columns: tuple[int, ...], rows: tuple[int, ...] = ()) -> Any:
    """Return weights of a reader of twelve channels that do not read `columns`, except `rows`."""
    weight = np.random.default_rng(3).integers(1, 128, (channels, 1, 1, 12), np.int8)
    others = [row for row in range(channels) if row not in rows]
    weight[np.ix_(others, [0], [0], columns)] = 0
    return constant(weight)


def test_channels_without_weights_behind_them_go() -> None:
    def body(emit: Any, x: Any) -> Any:
        second = emit(depthwise(emit(conv(x, 6, 12)), 12))
        attrs = QConv2DAttributes(**scaling(UNPADDED))
        return emit(QCONV2D(attrs, second, unread(8, DEAD), *tail(np.arange(8))))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8, 8]
    assert_same_values(before, after)


@pytest.mark.parametrize("last", [(0, 1, 2, 3), (0, 1, 2)], ids=["dead", "alive"])
def test_channels_that_only_dead_channels_read_go(last: tuple[int, ...]) -> None:
    def body(emit: Any, x: Any) -> Any:
        attrs = QConv2DAttributes(**scaling(UNPADDED))
        first = emit(conv(x, 6, 12))
        # only the results 0 ... 3 read the channels DEAD
        second = emit(QCONV2D(attrs, first, unread(12, DEAD, (0, 1, 2, 3)), *tail(np.arange(12))))
        return emit(QCONV2D(attrs, second, unread(8, last), *tail(np.arange(8))))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == ([8, 8, 8] if len(last) == 4 else [12, 12, 8])
    assert_same_values(before, after)


def test_a_second_reader_keeps_what_it_reads() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12))
        attrs = QConv2DAttributes(**scaling(UNPADDED))
        second = emit(QCONV2D(attrs, first, unread(8, DEAD), *tail(np.arange(8))))
        return emit(added(second, emit(conv(first, 12, 8))))

    assert is_unchanged(module([tensor("x", SHAPE)], body), DropDeadChannels())


def test_both_sides_of_an_addition_lose_a_channel() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD))
        second = emit(conv(first, 12, 12, (1, 3, 4, 9, 11), value=2))
        return emit(conv(emit(added(first, second)), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after) == [8, 8, 8, 8]
    assert_same_values(before, after)


def test_one_dead_channel_of_a_tile_stays() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, (5,))), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    assert_same_values(before, DropDeadChannels()(before))
    assert channels_of(DropDeadChannels()(before)) == [12, 8]


def test_all_channels_dead() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, tuple(range(12)), value=9)), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropDeadChannels()(before)
    assert channels_of(after)[0] < 12
    assert_same_values(before, after)


@pytest.mark.parametrize("granule", [1, 4])
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int, granule: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_dead_channels, "GRANULE", granule)
    generator = np.random.default_rng(seed)

    def random_conv(emit: Any, data: Any, depth: int, channels: int) -> Any:
        dead = np.flatnonzero(generator.integers(0, 3, channels) == 0)
        options: dict[str, Any] = {"value": int(generator.choice([0, 0, 3, -40]))}
        if generator.integers(2):
            options |= {"kernel": 3, "padding": PADDED}
        call = conv(data, depth, channels, tuple(map(int, dead)), **options)
        weight = call.args[1].value.numpy().copy()
        weight[..., generator.integers(0, 4, depth) == 0] = 0
        source, _, *parameters = call.args
        return emit(QCONV2D(attributes_of(call), source, constant(weight), *parameters))

    def body(emit: Any, x: Any) -> Any:
        data, depth = x, 6
        for _ in range(6):
            kind = int(generator.integers(6))
            if kind == 0:
                data = emit(depthwise(data, depth))
            elif kind == 1:
                data = emit(added(data, random_conv(emit, data, depth, depth)))
            elif kind == 2:
                data = emit(CONCAT(ConcatAttributes(3), data, random_conv(emit, data, depth, 5)))
                depth += 5
            else:
                channels = int(generator.integers(4, 20))
                data, depth = random_conv(emit, data, depth, channels), channels
        return data

    before = module([tensor("x", SHAPE)], body)
    assert_same_values(before, DropDeadChannels()(before), seed)
