from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, compare, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.bias_gradient import BIAS_GRADIENT

SHAPES = [(1, 1, 1, 1), (1, 8, 8, 48), (1, 3, 5, 7), (1, 10), (1, 4, 4, 37), (1, 2, 3, 16)]
CASES = {
    str(shape): Case(BIAS_GRADIENT, Attributes(), [[floats(shape)], [edges(shape)]])
    for shape in SHAPES
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("shape", SHAPES)
def test_meaning_is_torch(shape: tuple[int, ...]) -> None:
    bias = torch.zeros(shape[-1], dtype=torch.float64, requires_grad=True)
    gradient = floats(shape)
    (bias + torch.zeros(shape)).backward(torch.tensor(gradient.astype(np.float64)))
    compare(BIAS_GRADIENT.meaning(Attributes(), gradient), bias.grad.numpy(), 1e-5)
