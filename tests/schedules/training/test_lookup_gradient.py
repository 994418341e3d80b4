from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, bytes_of, check, compare, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.training.lookup_gradient import LOOKUP_GRADIENT

TABLE = floats((256,), 7)
CASES = {
    str(shape): Case(
        LOOKUP_GRADIENT,
        Attributes(),
        [
            [floats(shape), bytes_of(shape)],
            [edges(shape), np.full(shape, -128, np.int8)],
            [edges(shape), np.full(shape, 127, np.int8)],
        ],
        (None, None, TABLE),
    )
    for shape in [(1,), (1, 3, 5, 7), (1, 64)]
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


def test_meaning_is_torch() -> None:
    data, gradient = bytes_of((5, 7)), floats((5, 7))
    slopes = 0.03 * (1 - np.tanh(0.03 * DOMAIN) ** 2)
    steps = torch.tensor(data.astype(np.float64), requires_grad=True)
    torch.tanh(0.03 * steps).backward(torch.tensor(gradient.astype(np.float64)))
    ours = LOOKUP_GRADIENT.meaning(Attributes(), gradient, data, slopes)
    compare(ours, steps.grad.numpy(), 1e-5)
