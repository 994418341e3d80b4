from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.modules import assert_same_values, is_unchanged, module, tensor
from tests.support.evaluate_tiny import calls
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.drop_constant_channels import DropConstantChannels
from tvm_tiny.schedules import numerics, qadd
from tvm_tiny.schedules.dialect import Array, spec_of
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

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


def two(first: dict[str, Any], second: dict[str, Any]) -> Any:
    """Return a module of two convolutions, the first with dead channels among twelve."""

    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, DEAD, **first)), 12, 8, **second))

    return module([tensor("x", SHAPE)], body)


@pytest.mark.parametrize("value", [0, 7, -30])
def test_a_pointwise_reader_folds_any_value(value: int) -> None:
    before = two({"value": value}, {})
    after = DropConstantChannels()(before)
    assert channels_of(after) == [8, 8]
    assert_same_values(before, after)


def test_a_padded_reader_folds_the_zero_point() -> None:
    before = two({}, {"kernel": 3, "padding": PADDED})
    after = DropConstantChannels()(before)
    assert channels_of(after) == [8, 8]
    assert_same_values(before, after)


def test_a_padded_reader_keeps_any_other_value() -> None:
    before = two({"value": 7}, {"kernel": 3, "padding": PADDED})
    assert is_unchanged(before, DropConstantChannels())


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("padding", [PADDED, UNPADDED], ids=["padded", "unpadded"])
def test_values_through_a_depthwise_convolution(value: int, padding: Padding) -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD, value=value))
        return emit(conv(emit(depthwise(first, 12, padding)), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropConstantChannels()(before)
    assert_same_values(before, after)
    if value == 0 or padding == UNPADDED:
        assert channels_of(after) == [8, 8, 8]


def test_an_output_keeps_its_channels() -> None:
    before = module([tensor("x", SHAPE)], lambda emit, x: emit(conv(x, 6, 12, DEAD)))
    assert is_unchanged(before, DropConstantChannels())


@pytest.mark.parametrize("other", ["add", "pool"])
def test_another_reader_keeps_all_channels(other: str) -> None:
    pool = QPool2DAttributes(
        strides=(1, 1), padding=UNPADDED, dilation=(1, 1), size=(1, 1), clamp_min=-128,
        clamp_max=127,
    )  # fmt: skip

    def body(emit: Any, x: Any) -> Any:
        first = emit(conv(x, 6, 12, DEAD))
        second = emit(conv(first, 12, 12))
        if other == "pool":
            first = emit(QAVG_POOL2D(pool, first))
        attrs = qadd.attributes((0.1, 0.1, 0.2), (ZERO_POINT,) * 3)
        return emit(qadd.QADD(attrs, second, first))

    before = module([tensor("x", SHAPE)], body)
    assert is_unchanged(before, DropConstantChannels())


def test_one_dead_channel_of_a_tile_stays() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, (5,))), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    assert_same_values(before, DropConstantChannels()(before))
    assert channels_of(DropConstantChannels()(before)) == [12, 8]


def test_all_channels_dead() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(conv(emit(conv(x, 6, 12, tuple(range(12)), value=9)), 12, 8))

    before = module([tensor("x", SHAPE)], body)
    after = DropConstantChannels()(before)
    assert channels_of(after)[0] < 12
    assert_same_values(before, after)


@pytest.mark.parametrize("seed", range(12))
def test_random_chains(seed: int) -> None:
    generator = np.random.default_rng(seed)

    def body(emit: Any, x: Any) -> Any:
        data, depth = x, 6
        for _ in range(5):
            if generator.integers(3) == 0:
                data = emit(depthwise(data, depth))
                continue
            channels = int(generator.integers(4, 20))
            dead = np.flatnonzero(generator.integers(0, 3, channels) == 0)
            options: dict[str, Any] = {"value": int(generator.choice([0, 0, 3, -40]))}
            if generator.integers(2):
                options |= {"kernel": 3, "padding": PADDED}
            data = emit(conv(data, depth, channels, tuple(map(int, dead)), **options))
            depth = channels
        return data

    before = module([tensor("x", SHAPE)], body)
    assert_same_values(before, DropConstantChannels()(before), seed)
