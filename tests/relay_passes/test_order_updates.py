"""Masks stand behind what they are of; updates behind the last reader of the old value."""

from __future__ import annotations

import numpy as np

from tests.relay_passes.test_append_updates import appended
from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of
from tvm_tiny.relay_passes._straight_line import bindings, results
from tvm_tiny.relay_passes.fuse_gradients import FuseGradients
from tvm_tiny.relay_passes.live_bytes import live_bytes
from tvm_tiny.relay_passes.order_updates import OrderUpdates


def test_masks_are_taken_at_once() -> None:
    module = OrderUpdates()(FuseGradients()(appended(5)[0]))
    found = operators(module)
    loss = found.index("softmax_cross_entropy")
    assert all(n < loss for n, name in enumerate(found) if name == "in_range")
    wide = {"wide_conv2d", "wide_depthwise_conv2d", "wide_add"}
    assert all(found[n - 1] in wide for n, name in enumerate(found) if name == "in_range")


def test_masks_and_updates_move_apart() -> None:
    module = FuseGradients()(appended(9)[0])
    neither = OrderUpdates(masks=False, updates=False)(module)
    assert operators(neither) == operators(module)
    masks, updates = OrderUpdates(updates=False)(module), OrderUpdates(masks=False)(module)
    assert live_bytes(OrderUpdates()(module)) < min(live_bytes(masks), live_bytes(updates))
    found = operators(updates)
    assert found.index("in_range") > found.index("softmax_cross_entropy")
    assert "update" in operators(masks)[-1] and "update" in operators(masks)[-2]


def test_no_old_value_is_read_behind_its_update() -> None:
    function = OrderUpdates()(FuseGradients()(appended(9)[0]))["main"]
    count = len(function.attrs["tiny.states"])
    states = dict(zip(results(function)[-count:], function.params[-count:], strict=True))
    gone: set[object] = set()
    for var, value in bindings(function):
        assert not gone.intersection(value.args)
        if var in states:
            gone.add(states[var])
    assert len(gone) == count


def test_less_is_live_and_the_values_are_the_same() -> None:
    module, _, states = appended(9)
    fused = FuseGradients()(module)
    ordered = OrderUpdates()(fused)
    assert live_bytes(ordered) < live_bytes(fused)
    given = inputs_of(module, states, rate=1e-3)
    for one, other in zip(evaluate(fused, *given), evaluate(ordered, *given), strict=True):
        np.testing.assert_array_equal(one, other)
