"""Fused steps give what their parts give."""

from __future__ import annotations

import numpy as np

from tests.relay_passes.test_append_updates import appended
from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of
from tvm_tiny.relay_passes.fuse_gradients import FuseGradients

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
