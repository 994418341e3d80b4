from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, compare, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.training.momentum_velocity import (
    MOMENTUM_VELOCITY,
    MomentumVelocityAttributes,
)
from tvm_tiny.schedules.training.sgd_update import SGD_UPDATE, SgdUpdateAttributes

ONE = np.ones(1, np.float32)
CASES = {
    f"{shape} axis {axis} scales {scales}": Case(
        MOMENTUM_VELOCITY,
        MomentumVelocityAttributes(0.9, axis),
        [[floats(shape), floats(shape, 1)], [edges(shape), edges(shape, 1)]],
        (None, None, floats((scales,), 2)),
    )
    for shape, axis in [((5, 3, 3, 4), 0), ((3, 3, 7), 2), ((9,), 0)]
    for scales in (shape[axis], 1)
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


def test_steps_are_torchs() -> None:
    parameter, velocity = floats((3, 4)), np.zeros((3, 4), np.float32)
    tensor = torch.nn.Parameter(torch.tensor(parameter))
    optimizer = torch.optim.SGD([tensor], lr=0.3, momentum=0.9)
    for seed in range(4):
        gradient = floats((3, 4), seed + 1)
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        attrs = MomentumVelocityAttributes(0.9, 0)
        velocity = MOMENTUM_VELOCITY.meaning(attrs, velocity, gradient, ONE)
        rate, update = np.array([0.3], np.float32), SgdUpdateAttributes(0, (), 0)
        parameter = SGD_UPDATE.meaning(update, parameter, velocity, rate, ONE)
        compare(parameter, tensor.detach().numpy(), 1e-5)
