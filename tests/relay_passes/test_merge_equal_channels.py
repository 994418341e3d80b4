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
)
from tests.support.evaluate_tiny import calls
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.drop_dead_channels import DropDeadChannels
from tvm_tiny.relay_passes.merge_equal_channels import MergeEqualChannels
from tvm_tiny.schedules import numerics, qadd
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import Array, spec_of
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

SHAPE, CHANNELS = (1, 4, 5, 6), 8
PLAIN: dict[str, Any] = {
    "input_zero_point": -5,
    "output_zero_point": 3,
    "clamp_min": -128,
    "clamp_max": 127,
    "strides": (1, 1),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
}
PADDED = PLAIN | {"padding": (1, 1, 1, 1)}
REPEATED = np.array([0, 1, 2, 3, 0, 1, 0, 3])  # which of four filters each channel has
FIRST = [0, 1, 2, 3]


def tail(bias: Array, real: float = 0.004) -> list[Any]:
    numbers = numerics.quantize_multiplier(np.full(len(bias), real))
    return [constant(array) for array in (bias.astype(np.int32), *numbers)]


def weights(*shape: int, largest: int = 127) -> Array:
    generator = np.random.default_rng(shape[0])
    return generator.integers(-largest, largest + 1, shape).astype(np.int8)


def equal_filters(x: Any, bias: Array = REPEATED * 10) -> Any:
    """Return a convolution of four filters, eight channels."""
    weight = weights(4, 1, 1, 6)[REPEATED]
    return QCONV2D(QConv2DAttributes(**PLAIN), x, constant(weight), *tail(bias))


def reader(data: Any, depth: int = CHANNELS, *, largest: int = 40, kernel: int = 1) -> Any:
    weight = weights(4, kernel, kernel, depth, largest=largest)
    attrs = QConv2DAttributes(**(PADDED if kernel == 3 else PLAIN))
    return QCONV2D(attrs, data, constant(weight), *tail(np.arange(4)))


def depthwise(data: Any, weight: Array) -> Any:
    attrs = QDepthwiseConv2DAttributes(**PADDED)
    bias = np.zeros(len(REPEATED))
    return QDEPTHWISE_CONV2D(attrs, data, constant(weight), *tail(bias))


def last_weight(mod: Any) -> Array:
    return np.asarray(calls(mod)[-1].args[1].value.numpy())


def read_channels(mod: Any) -> list[int]:
    """Return the channels that the last layer has weights for."""
    weight = last_weight(mod)
    return [int(c) for c in np.flatnonzero(weight.reshape(-1, weight.shape[-1]).any(axis=0))]


@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_of_equal_filters_move_to_the_first(kernel: int) -> None:
    before = module(
        [tensor("x", SHAPE)],
        lambda emit, x: emit(reader(emit(equal_filters(x)), kernel=kernel)),
    )
    after = MergeEqualChannels()(before)
    expected = np.zeros_like(last_weight(before))
    for channel, first in enumerate(REPEATED):
        expected[..., first] += last_weight(before)[..., channel]
    np.testing.assert_array_equal(last_weight(after), expected)
    assert_same_values(before, after)


def test_then_the_others_go() -> None:
    before = module([tensor("x", SHAPE)], lambda emit, x: emit(reader(emit(equal_filters(x)))))
    after = DropDeadChannels()(MergeEqualChannels()(before))
    assert [spec_of(call).shape[-1] for call in calls(after)] == [4, 4]
    assert_same_values(before, after)


def test_filters_of_different_biases_stay() -> None:
    before = module(
        [tensor("x", SHAPE)],
        lambda emit, x: emit(reader(emit(equal_filters(x, np.arange(CHANNELS))))),
    )
    assert is_unchanged(before, MergeEqualChannels())


def test_sums_beyond_int8_stay() -> None:
    def body(emit: Any, x: Any) -> Any:
        weight = np.full((4, 1, 1, CHANNELS), 64, np.int8)
        attrs = QConv2DAttributes(**PLAIN)
        return emit(QCONV2D(attrs, emit(equal_filters(x)), constant(weight), *tail(np.arange(4))))

    assert is_unchanged(module([tensor("x", SHAPE)], body), MergeEqualChannels())


def test_sums_of_some_fit_int8() -> None:
    def body(emit: Any, x: Any) -> Any:
        weight = np.full((4, 1, 1, CHANNELS), -64, np.int8)  # two of them are -128, three too many
        attrs = QConv2DAttributes(**PLAIN)
        return emit(QCONV2D(attrs, emit(equal_filters(x)), constant(weight), *tail(np.arange(4))))

    before = module([tensor("x", SHAPE)], body)
    after = MergeEqualChannels()(before)
    assert read_channels(after) == [0, 1, 2, 3, 6]
    assert_same_values(before, after)


@pytest.mark.parametrize("same", [True, False])
def test_through_a_depthwise_convolution(same: bool) -> None:
    filters = weights(3, 3, CHANNELS)
    filters = filters[..., REPEATED] if same else filters

    def body(emit: Any, x: Any) -> Any:
        return emit(reader(emit(depthwise(emit(equal_filters(x)), filters))))

    before = module([tensor("x", SHAPE)], body)
    if not same:
        assert is_unchanged(before, MergeEqualChannels())
        return
    after = MergeEqualChannels()(before)
    assert read_channels(after) == FIRST
    assert_same_values(before, after)


def test_through_tables_and_additions() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(equal_filters(x))
        attrs = qadd.attributes((0.1, 0.1, 0.2), (3, 3, -5))
        return emit(reader(emit(qadd.QADD(attrs, first, emit(looked_up(first))))))

    before = module([tensor("x", SHAPE)], body)
    after = MergeEqualChannels()(before)
    assert read_channels(after) == FIRST
    assert_same_values(before, after)


def test_a_tensor_beside_itself() -> None:
    def body(emit: Any, x: Any) -> Any:
        both = emit(CONCAT(ConcatAttributes(3), x, x))
        return emit(reader(both, 12))

    before = module([tensor("x", SHAPE)], body)
    after = MergeEqualChannels()(before)
    assert read_channels(after) == [0, 1, 2, 3, 4, 5]
    assert_same_values(before, after)


def test_positions_that_become_channels_differ() -> None:
    def body(emit: Any, x: Any) -> Any:
        flat = emit(relax.op.reshape(emit(equal_filters(x)), (1, 160)))
        attrs = QDenseAttributes(3, 0, -128, 127)
        weight = weights(5, 160, largest=40)
        return emit(QDENSE(attrs, flat, constant(weight), *tail(np.arange(5))))

    before = module([tensor("x", SHAPE)], body)
    after = MergeEqualChannels()(before)
    assert len(read_channels(after)) == 80  # four filters at twenty positions
    assert_same_values(before, after)


def test_equal_filters_over_different_inputs_stay() -> None:
    def body(emit: Any, x: Any, y: Any) -> Any:
        parts = [emit(QCONV2D(QConv2DAttributes(**PLAIN), data, *FILTER)) for data in (x, y)]
        return emit(reader(emit(CONCAT(ConcatAttributes(3), *parts)), 12))

    before = module([tensor("x", SHAPE), tensor("y", SHAPE)], body)
    assert is_unchanged(before, MergeEqualChannels())


FILTER = [constant(weights(6, 1, 1, 6)), *tail(np.arange(6))]
