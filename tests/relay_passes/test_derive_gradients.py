"""Gradients of a whole net are those of torch's autograd, and nothing more is derived."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support import torch_oracle
from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of, separated, small_module
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients

FRACTION_BITS = 7  # of models that are not from TensorFlow Lite


def derived(count: int, loss: str = "softmax_cross_entropy") -> tuple[Any, Any]:
    module, states = separated(count, loss)
    return DeriveGradients()(module), states


@pytest.mark.parametrize("count", [1, 4, 9])
def test_gradients_are_those_of_autograd(count: int) -> None:
    module, states = derived(count)
    given = inputs_of(module, states)
    loss, _, *found = evaluate(module, *given)
    expected_loss, expected = torch_oracle.gradients(small_module(), given[0], [1])
    assert loss[0] == pytest.approx(expected_loss, rel=1e-5)
    for state, gradient in zip(states, found, strict=True):
        reference = expected[f"{state.layer}.{state.kind}"].reshape(gradient.shape)
        # torch's is per step of the bias, which counts in parts of a sum's
        reference = reference * (2.0**FRACTION_BITS if state.kind == "bias" else 1.0)
        largest = np.abs(reference).max()
        np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-5 * largest)


def test_mean_squared_error() -> None:
    module, states = derived(3, "mean_squared_error")
    image, _, rate, *weights = inputs_of(module, states)
    target = np.array([[0.5, -1.0, 0.0, 2.0]], np.float32)
    loss, _, *found = evaluate(module, image, target, rate, *weights)
    expected_loss, expected = torch_oracle.gradients(
        small_module(), image, target, "mean_squared_error"
    )
    assert loss[0] == pytest.approx(expected_loss, rel=1e-5)
    reference = expected[f"{states[0].layer}.weight"]
    np.testing.assert_allclose(found[0], reference, rtol=1e-5, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_end_at_the_first_state(count: int) -> None:
    module, _ = derived(count)
    found = operators(module)
    of_inputs = [op for op in found if op.endswith("input_gradient")]
    of_weights = [op for op in found if op.endswith("weight_gradient")]
    assert len(of_weights) == count
    assert len(of_inputs) == count - 1


def test_branches_add_up() -> None:
    module, _ = derived(9)
    assert "add_gradients" in operators(module)
    assert "add" not in operators(module)
