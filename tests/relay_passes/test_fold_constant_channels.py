from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.modules import (
    assert_same_values,
    is_unchanged,
    nested,
    only_call,
    tensor,
)
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.fold_constant_channels import FoldConstantChannels
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

CHANNELS = 4
WINDOW: dict[str, Any] = {"strides": (1, 1), "padding": (1, 0, 0, 1), "dilation": (1, 1)}
SCALING = (-3, 5, -100, 100)
REALS = np.array([0.003, 0.004, 0.005, 0.006])
BIAS = np.array([10, -2000, 30, 9000], np.int32)


def call(kind: str, weight: Array, bias: Array = BIAS, reals: Array = REALS) -> Any:
    """Return a module of one operator; `weight` is (channels, taps)."""
    tail = [constant(n) for n in (bias, *numerics.quantize_multiplier(reals))]
    if kind == "dense":
        x = tensor("x", (3, 8))
        return nested(QDENSE(QDenseAttributes(*SCALING), x, constant(weight), *tail), x)
    x = tensor("x", (1, 4, 5, 2 if kind == "conv" else CHANNELS))
    if kind == "conv":
        taps = constant(weight.reshape(CHANNELS, 2, 2, 2))
        return nested(QCONV2D(QConv2DAttributes(*SCALING, **WINDOW), x, taps, *tail), x)
    taps = constant(np.ascontiguousarray(weight[:, :4].T).reshape(2, 2, CHANNELS))
    attrs = QDepthwiseConv2DAttributes(*SCALING, **WINDOW)
    return nested(QDEPTHWISE_CONV2D(attrs, x, taps, *tail), x)


def weights(*dead: int) -> Array:
    values = np.random.default_rng(0).integers(-128, 128, (CHANNELS, 8), np.int8)
    values[list(dead)] = 0
    return values


NAMES = {"conv": "qconv2d", "dense": "qdense", "depthwise": "qdepthwise_conv2d"}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("dead", [(1,), (0, 3), (0, 1, 2, 3)])
def test_channels_of_zero_weights_keep_their_value(kind: str, dead: tuple[int, ...]) -> None:
    before = call(kind, weights(*dead))
    after = FoldConstantChannels()(before)
    multiplier = only_call(after, f"tiny.{NAMES[kind]}").args[3].value.numpy()
    assert (multiplier[list(dead)] == 1 << 30).all()
    assert_same_values(before, after)


@pytest.mark.parametrize("kind", NAMES)
def test_channels_of_a_vanishing_scale_keep_their_value(kind: str) -> None:
    before = call(kind, weights(), reals=REALS * [1, 1e-6, 1, 1e-9])
    after = FoldConstantChannels()(before)
    weight = only_call(after, f"tiny.{NAMES[kind]}").args[1].value.numpy()
    axis = -1 if kind == "depthwise" else 0
    taps = np.moveaxis(weight, axis, 0).reshape(CHANNELS, -1)
    assert not taps[[1, 3]].any() and taps[[0, 2]].any()
    assert_same_values(before, after)


@pytest.mark.parametrize("kind", NAMES)
def test_a_saturated_channel_keeps_its_value(kind: str) -> None:
    before = call(kind, weights(), np.array([10, 1 << 27, -(1 << 27), 5], np.int32))
    assert_same_values(before, FoldConstantChannels()(before))


@pytest.mark.parametrize("kind", NAMES)
def test_channels_that_depend_on_the_input_stay(kind: str) -> None:
    almost = weights(1)
    almost[1, 0] = 1
    before = call(kind, almost, reals=np.array([0.003, 0.01, 0.005, 0.006]))
    assert is_unchanged(before, FoldConstantChannels())


@pytest.mark.parametrize("kind", NAMES)
def test_the_pass_is_done_after_one_time(kind: str) -> None:
    once = FoldConstantChannels()(call(kind, weights(2)))
    assert is_unchanged(once, FoldConstantChannels())
