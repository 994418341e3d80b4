"""Gradients become steps: scaled as the quantisation says, on the channels of the plan alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.evaluate_tiny import calls, evaluate, operators
from tests.support.training import inputs_of, separated
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.append_updates import AppendUpdates
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.schedules.dialect import attributes_of


def appended(count: int = 3, is_scaled: bool = True) -> tuple[Any, Any, Any]:
    module, states = separated(count)
    derived = DeriveGradients()(module)
    return AppendUpdates(states, Optimizer(is_scaled=is_scaled))(derived), derived, states


@pytest.mark.parametrize("is_scaled", [True, False])
def test_a_step_goes_against_the_gradient(is_scaled: bool) -> None:
    module, derived, states = appended(is_scaled=is_scaled)
    rate = 1e-3 if is_scaled else 1e8
    given = inputs_of(module, states, rate=rate)
    _, _, *found = evaluate(module, *given)
    _, _, *gradients = evaluate(derived, *given)
    moved: int = 0
    for state, values, gradient in zip(states, found, gradients, strict=True):
        change = values.astype(np.int64) - state.initial
        # whatever moved, moved against the gradient
        assert np.all(change * gradient.reshape(change.shape) <= 0)
        moved += int(np.count_nonzero(change))
    assert moved > 0


def test_other_channels_stay() -> None:
    module, _, states = appended()
    given = inputs_of(module, states, rate=10.0)
    _, _, *found = evaluate(module, *given)
    weight, values = states[0], found[0]
    others = np.setdiff1d(np.arange(values.shape[-1]), weight.channels)
    np.testing.assert_array_equal(values[..., others], weight.initial[..., others])
    assert np.any(values != weight.initial)


def test_scales_are_those_of_the_published_rule() -> None:
    module, _, states = appended()
    name = states[0].layer
    layer = next(c for c in calls(module) if attributes_of(c).layer == name)
    attrs = attributes_of(layer)
    multiplier, shift = (a.value.numpy().astype(np.float64) for a in layer.args[3:5])
    effective = multiplier * 2.0 ** (shift - 31 + attrs.fraction_bits)
    of_weights = effective * attrs.output_scale / attrs.input_scale
    updates = [c for c in calls(module) if c.op.name == "tiny.sgd_update"]
    weight, bias = (c.args[3].value.numpy() for c in updates[:2])
    unit = 2.0**-attrs.fraction_bits  # of a bias, in steps of a sum
    np.testing.assert_allclose(weight, of_weights**-2, rtol=1e-6)
    np.testing.assert_allclose(bias, unit / (of_weights * attrs.input_scale * unit) ** 2, rtol=1e-6)


def test_a_step_for_each_state() -> None:
    module, _, states = appended()
    assert operators(module).count("sgd_update") == len(states)


def test_a_velocity_is_kept_of_what_is_trained() -> None:
    module, states = separated(3)
    append = AppendUpdates(states, Optimizer("momentum", momentum=0.5))
    moved = append(DeriveGradients()(module))
    kept = append.states[len(states) :]
    assert [state.name for state in kept] == [f"{state.name}_velocity" for state in states]
    assert kept[0].spec.shape[-1] == len(states[0].channels)
    assert list(moved["main"].attrs["tiny.states"]) == [state.name for state in append.states]
    # two steps with the same gradient: the second velocity is 1.5 times the first
    given = inputs_of(moved, append.states, rate=0.0)
    _, _, *first = evaluate(moved, *given)
    _, _, *second = evaluate(moved, *given[:3], *first)
    velocities = slice(len(states), None)
    for one, two in zip(first[velocities], second[velocities], strict=True):
        assert np.any(one)
        np.testing.assert_allclose(two, np.float32(1.5) * one, rtol=1e-5)


def test_adam_is_not_for_integers() -> None:
    module, states = separated(3)
    with pytest.raises(UnsupportedError, match="Adam trains float models"):
        AppendUpdates(states, Optimizer("adam"))(DeriveGradients()(module))
