from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, bytes_of, check, compare, edges, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.training.losses import LossAttributes
from tvm_tiny.schedules.training.mean_squared_error import (
    MEAN_SQUARED_ERROR,
    MEAN_SQUARED_ERROR_GRADIENT,
)

SHAPES = [(1, 1), (1, 63), (1, 5, 13, 1), (1, 8, 8, 40)]
CASES = {
    f"{operator.name} {shape} {zero_point}": Case(
        operator,
        LossAttributes(0.043, zero_point),
        [[bytes_of(shape, seed), floats(shape, seed, 3)] for seed in range(2)]
        + [[bytes_of(shape), np.full(shape, np.nan, np.float32)]]
        + [[bytes_of(shape), edges(shape) * np.float32(1e-20)]],
    )
    for operator in (MEAN_SQUARED_ERROR, MEAN_SQUARED_ERROR_GRADIENT)
    for shape in SHAPES
    for zero_point in (-128, 5, 127)
}


@quick_some("name", CASES, 5)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_meaning_is_torch(shape: tuple[int, ...]) -> None:
    attrs = LossAttributes(0.043, -9)
    output, target = bytes_of(shape), floats(shape, 1, 3)
    steps = torch.tensor(output.astype(np.float64), requires_grad=True)
    real = float(np.float32(0.043)) * (steps + 9)
    loss = torch.nn.functional.mse_loss(real, torch.tensor(target.astype(np.float64)))
    loss.backward()
    ours = MEAN_SQUARED_ERROR.meaning(attrs, output, target)
    compare(ours, loss.detach().numpy().reshape(1), 1e-5)
    compare(MEAN_SQUARED_ERROR_GRADIENT.meaning(attrs, output, target), steps.grad.numpy(), 1e-5)
