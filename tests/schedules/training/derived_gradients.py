"""Gradients as the table derives them, against torch's autograd and against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tvm import relax

from tests.schedules.training.training_cases import Case, floats
from tests.support.evaluate_tiny import evaluate
from tests.support.gradients import close
from tvm_tiny.relay_passes._straight_line import build
from tvm_tiny.schedules.dialect import Array, run_meaning
from tvm_tiny.schedules.training.gradients import RULES

PLACES = 5  # of each input, at which a difference is taken


def check_gradients(case: Case, function: Callable[..., Any]) -> None:
    """Assert that the rule of a case's operator gives what torch gives for the same function."""
    inputs = case.samples[0]
    gradient = floats(case.expected[0].shape, 9)
    found = derived(case, gradient)
    tensors = [torch.tensor(each.astype(np.float64), requires_grad=True) for each in inputs]
    function(*tensors).backward(torch.tensor(gradient.astype(np.float64)))
    assert len(found) == len(tensors)
    for number, (ours, tensor) in enumerate(zip(found, tensors, strict=True)):
        assert tensor.grad is not None
        close(ours, tensor.grad.numpy())
        for place in np.random.default_rng(0).integers(0, ours.size, PLACES):
            expected = difference(case, gradient, number, int(place))
            np.testing.assert_allclose(ours.flat[place], expected, 1e-5, 1e-5)


def derived(case: Case, gradient: Array) -> list[Array]:
    """Return the gradients of all run-time arguments, of the first sample."""
    call = case.call
    parameters = [argument for argument in call.args if isinstance(argument, relax.Var)]
    output = relax.Var("gradient", relax.TensorType(list(gradient.shape), "float32"))

    def body(builder: relax.BlockBuilder) -> list[Any]:
        result = builder.emit(call)
        gradients = RULES[call.op.name](result, call, output, builder)
        pairs = zip(call.args, gradients, strict=True)
        return [builder.emit(g) for argument, g in pairs if isinstance(argument, relax.Var)]

    return evaluate(build([*parameters, output], body, {}), *case.samples[0], gradient)


def difference(case: Case, gradient: Array, number: int, place: int) -> float:
    """Return the central difference of sum(output * gradient) in one element, in float64."""
    sides = []
    for step in (0.5, -0.5):
        moved = [array.astype(np.float64) for array in case.samples[0]]
        moved[number].flat[place] += step
        sides.append(float((run_meaning(case.call, moved) * gradient).sum()))
    return sides[0] - sides[1]
