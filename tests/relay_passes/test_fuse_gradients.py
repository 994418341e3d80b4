"""Fused steps give what their parts give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.test_append_updates import appended
from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of
from tvm_tiny.relay_passes.append_updates import AppendUpdates
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients
from tvm_tiny.relay_passes.fuse_gradients import FuseGradients
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate, SeparateTrainables
from tvm_tiny.training.layers import trainable_layers

PARTS = {"sgd_update", "bias_gradient", "conv2d_weight_gradient", "depthwise_weight_gradient"}


def test_updates_hold_their_gradients() -> None:
    module, _, _ = appended(9)
    fused = FuseGradients()(module)
    found = set(operators(fused))
    assert not found & (PARTS | {"scale_gradient"})
    assert {"conv2d_weight_update", "depthwise_weight_update", "bias_update"} <= found


def test_masks_and_updates_fuse_apart() -> None:
    module, _, _ = appended(9)
    masks = set(operators(FuseGradients(updates=False)(module)))
    assert masks >= PARTS | {"masked_scale"}
    assert not [name for name in masks if name.endswith(("weight_update", "bias_update"))]
    updates = set(operators(FuseGradients(masks=False)(module)))
    assert updates >= {"conv2d_weight_update", "bias_update", "mask_gradient", "scale_gradient"}
    assert not updates & (PARTS | {"masked_scale"})


def test_the_values_are_the_same() -> None:
    module, _, states = appended(9)
    given = inputs_of(module, states, rate=1e-3)
    before, after = evaluate(module, *given), evaluate(FuseGradients()(module), *given)
    for one, other in zip(before, after, strict=True):
        difference = one.astype(np.float64) - other
        # scales are multiplied in another order, which moves a value that lies at a half
        assert np.abs(difference).max() <= 1
        assert np.mean(difference != 0) < 0.01


def test_masks_of_two_branches_stay_where_they_are() -> None:
    module, _, _ = appended(9)
    masks = operators(module).count("in_range")
    assert operators(FuseGradients()(module)).count("in_range") == masks


def floats(optimizer: str = "sgd") -> tuple[Any, Any]:
    """Return a float net's step of training, in which some channels are trained, and its states."""
    torch = pytest.importorskip("torch")
    from tests.relay_passes.test_float_to_tiny import exported, rewritten

    def forward(layers: Any, x: Any) -> Any:
        x = torch.relu(layers[1](layers[0](x)))
        return layers[2](x.flatten(1))

    first, depthwise = torch.nn.Conv2d(3, 6, 3, 2, 1), torch.nn.Conv2d(6, 6, 3, groups=6)
    _, program = exported(forward, first, depthwise, torch.nn.Linear(72, 4))
    module = rewritten(program)
    updates = [
        LayerUpdate(
            layer.name, (2, 0) if layer.channels == 3 else tuple(range(layer.channels)), True
        )
        for layer in trainable_layers(module)
    ]
    separate = SeparateTrainables(updates, "softmax_cross_entropy")
    derived = DeriveGradients()(separate(module))
    append = AppendUpdates(separate.states, Optimizer(optimizer))
    return append(derived), append.states


def test_weights_of_floats_are_updated_as_their_gradients_come() -> None:
    module, states = floats()
    fused = FuseGradients()(module)
    found = operators(fused)
    assert found.count("conv2d_weight_update") == 3 == found.count("bias_gradient")
    assert "conv2d_weight_gradient" not in found
    assert found.count("sgd_update") == 3  # of biases
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 12, 9)).astype(np.float32)
    given = [image, np.array([1], np.int32), np.array([0.1], np.float32)]
    given += [state.initial for state in states]
    before, after = evaluate(module, *given), evaluate(fused, *given)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_gradients_that_other_optimizers_keep_stay(optimizer: str) -> None:
    found = operators(FuseGradients()(floats(optimizer)[0]))
    assert found.count("conv2d_weight_gradient") == 3
    assert "conv2d_weight_update" not in found
