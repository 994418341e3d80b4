"""The published memory of sparse updates."""

from __future__ import annotations

import pytest

from tests.training.nets import published, small
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.training.layers import TrainableLayer
from tvm_tiny.training.memory import analytic_memory, extra_memory_kb
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate, published_schemes

KB = {
    "mbv2-w0.35": {"49kb": 49.8, "73kb": 73.9, "99kb": 99.4, "123kb": 123.6, "138kb": 138.2},
    "mcunet-5fps": {"49kb": 49.8, "74kb": 74.8, "99kb": 99.8, "124kb": 125.0, "148kb": 148.4},
    "proxyless-w0.3": {"49kb": 49.7, "74kb": 74.9, "98kb": 98.5, "120kb": 120.2, "148kb": 148.2},
}
# everything, all biases, the last twelve layers
WHOLE = {
    "mbv2-w0.35": (1306, 134, 224),
    "mcunet-5fps": (1400, 121, 448),
    "proxyless-w0.3": (1211, 113, 266),
}


@pytest.mark.parametrize("net", KB)
def test_published_schemes_need_the_published_memory(net: str) -> None:
    memory = analytic_memory(published(net))
    plans = {name: SparseUpdate.published(net, name) for name in published_schemes()[net].schemes}
    assert {name: round(memory(plan), 1) for name, plan in plans.items()} == KB[net]


@pytest.mark.parametrize("net", WHOLE)
def test_whole_updates_need_the_published_memory(net: str) -> None:
    memory = analytic_memory(published(net))
    plans = SparseUpdate.full(), SparseUpdate.bias_only(), SparseUpdate.last(12)
    assert tuple(round(memory(plan)) for plan in plans) == WHOLE[net]


def test_memory_by_hand() -> None:
    """The pool gives 7 numbers; the last layer has 4x4x7 outputs, and 11 input channels of 16."""
    assert extra_memory_kb(small(), SparseUpdate()) * 1024 == 7
    bias = 7 + 4 * 4 * 7 / 8 + 4 * 7
    assert extra_memory_kb(small(), SparseUpdate.bias_only(1)) * 1024 == bias
    both = bias + 11 * 16 + 11 * 7
    assert extra_memory_kb(small(), SparseUpdate.last(1)) * 1024 == both
    weights = 7 + 4 * 4 * 7 / 8 + 3 * 16 + 3 * 7
    plan = SparseUpdate((LayerPlan("block1_project", 3 / 11),))
    assert extra_memory_kb(small(), plan) * 1024 == weights


def layer(operator: str, depth: int, weight: tuple[int, ...], channels: int) -> TrainableLayer:
    image = TensorSpec((1, 3, 3, depth), "int8")
    return TrainableLayer(
        "x", operator, image, image, TensorSpec(weight, "int8"), (1.0,) * channels
    )


def test_inputs_kept_for_groups_and_multipliers() -> None:
    """A channel of a group is one of every group; kernels of a channel share it."""
    grouped = layer("tiny.qconv2d", 8, (6, 3, 3, 4), 4)
    assert grouped.kept_input_elements((0, 3)) == 2 * 2 * 9
    assert (grouped.channel_weights, grouped.biases) == (6 * 9, 6)
    doubled = layer("tiny.qdepthwise_conv2d", 4, (5, 5, 8), 8)
    assert doubled.kept_input_elements((0, 1, 6)) == 2 * 9
    assert (doubled.channel_weights, doubled.biases) == (25, 8)
