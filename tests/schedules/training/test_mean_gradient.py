from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, compare, floats
from tests.support.kernels import Library
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.training.mean_gradient import (
    MEAN_GRADIENT,
    MeanGradientAttributes,
    kernel,
)

MEANS: list[tuple[tuple[int, ...], tuple[int, ...], int]] = [
    ((1, 4, 4, 48), (1, 2), 0),
    ((1, 3, 5, 7), (1, 2), 1),
    ((1, 3, 5, 7), (3,), 0),
    ((2, 9), (1,), 1),
    ((1, 3, 5, 7), (2,), 0),
]


def case(shape: tuple[int, ...], axes: tuple[int, ...], keep_dims: int) -> Case:
    kept = [1 if i in axes else d for i, d in enumerate(shape)]
    if not keep_dims:
        kept = [d for i, d in enumerate(shape) if i not in axes]
    return Case(
        MEAN_GRADIENT, MeanGradientAttributes(shape, axes, keep_dims, 0.021), [[floats((*kept,))]]
    )


CASES = {f"{row}": case(*row) for row in MEANS}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize(("shape", "axes", "keep_dims"), MEANS)
def test_meaning_is_torch(shape: tuple[int, ...], axes: tuple[int, ...], keep_dims: int) -> None:
    ((gradient,),) = case(shape, axes, keep_dims).samples
    count = int(np.prod([shape[axis] for axis in axes]))
    data = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    mean = (0.7 * data).mean(axes, keepdim=bool(keep_dims))
    mean.backward(torch.tensor(gradient.astype(np.float64)))
    attrs = MeanGradientAttributes(shape, axes, keep_dims, 0.7 / count)
    compare(MEAN_GRADIENT.meaning(attrs, gradient), data.grad.numpy(), 1e-5)


def test_axes_apart() -> None:
    attrs = MeanGradientAttributes((1, 2, 3, 4), (1, 3), 0, 1.0)
    with pytest.raises(UnsupportedError, match="not adjacent"):
        kernel(attrs, TensorSpec((1, 3), "float32"))
