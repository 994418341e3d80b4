from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests.schedules.training.training_cases import Case, check, compare, edges, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.training.adam import (
    ADAM_FIRST_MOMENT,
    ADAM_SECOND_MOMENT,
    ADAM_UPDATE,
    AdamMomentAttributes,
    AdamUpdateAttributes,
)

ONE = np.ones(1, np.float32)
MOMENTS = {
    f"{operator.name} {shape} {scales}": Case(
        operator,
        AdamMomentAttributes(decay, axis),
        [[floats(shape), floats(shape, 1)], [edges(shape), edges(shape, 1)]],
        (None, None, floats((scales,), 2)),
    )
    for operator, decay in ((ADAM_FIRST_MOMENT, 0.9), (ADAM_SECOND_MOMENT, 0.999))
    for shape, axis in [((5, 3, 3, 4), 0), ((3, 3, 7), 2), ((9,), 0)]
    for scales in (shape[axis], 1)
}


def update_samples(shape: tuple[int, ...], channels: int = 0) -> list[Any]:
    """Return early and late steps, some that are none, moments that are not finite."""
    parameter = floats(shape)
    shape = (*shape[:-1], channels or shape[-1])
    first, second = floats(shape, 1), np.abs(floats(shape, 2))
    states = [(first, second), (edges(shape), np.abs(edges(shape, 1)))]
    rates, steps = (1e-3, np.nan), (1, 2, 1000, 3e7, np.inf, 0, np.nan)
    return [
        [parameter, *state, np.array([rate], np.float32), np.array([step], np.float32)]
        for state in states
        for rate in rates
        for step in steps
    ]


UPDATE = AdamUpdateAttributes(0.9, 0.999, 1e-8)
CASES = MOMENTS | {
    str(shape): Case(ADAM_UPDATE, UPDATE, update_samples(shape)) for shape in [(1,), (3, 3, 7)]
}
CASES["channels"] = Case(
    ADAM_UPDATE, replace(UPDATE, channels=(4, 1, 5)), update_samples((2, 3, 7), 3)
)


@quick_some("name", CASES, 4)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 0 if name in MOMENTS else 1e-6)


def test_steps_are_torchs() -> None:
    shape, rate = (3, 4), np.array([0.01], np.float32)
    parameter = floats(shape)
    first = second = np.zeros(shape, np.float32)
    tensor = torch.nn.Parameter(torch.tensor(parameter))
    optimizer = torch.optim.Adam([tensor], lr=0.01)
    for number in range(1, 6):
        gradient = floats(shape, number)
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        moments = AdamMomentAttributes(0.9, 0), AdamMomentAttributes(0.999, 0)
        first = ADAM_FIRST_MOMENT.meaning(moments[0], first, gradient, ONE)
        second = ADAM_SECOND_MOMENT.meaning(moments[1], second, gradient, ONE)
        step = np.array([number], np.float32)
        parameter = ADAM_UPDATE.meaning(UPDATE, parameter, first, second, rate, step)
        compare(parameter, tensor.detach().numpy(), 1e-5)
