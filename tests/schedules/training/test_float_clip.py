from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.training.float_clip import (
    CLIP_GRADIENT,
    FLOAT_CLIP,
    FloatClipAttributes,
)

LARGEST = float(np.finfo(np.float32).max)
BOUNDS = {"relu": (0.0, LARGEST), "relu6": (0.0, 6.0), "hardtanh": (-1.0, 0.5)}
SHAPES = [(1, 3, 5, 7), (1,)]


def forward(shape: tuple[int, ...]) -> list[Any]:
    return [[floats(shape, scale=4.0)], [edges(shape)]]


CASES = {
    f"{operator.name} {name} {shape}": Case(
        operator,
        FloatClipAttributes(*bounds),
        [[*([floats(shape, 1)] if operator is CLIP_GRADIENT else []), *s] for s in forward(shape)],
    )
    for operator in (FLOAT_CLIP, CLIP_GRADIENT)
    for name, bounds in BOUNDS.items()
    for shape in SHAPES
}


@quick_some("name", CASES, 4)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("bounds", BOUNDS.values())
def test_gradient_is_torchs(bounds: tuple[float, float]) -> None:
    attrs = FloatClipAttributes(*bounds)
    values, gradient = floats((50,), scale=4.0), floats((50,), 1)
    values[:2] = bounds  # at the bounds it is zero, as of relu and relu6 in torch
    data = torch.tensor(values, requires_grad=True)
    torch.nn.functional.hardtanh(data, *bounds).backward(torch.tensor(gradient))
    clipped = FLOAT_CLIP.meaning(attrs, values)
    ours = CLIP_GRADIENT.meaning(attrs, gradient, clipped)
    assert data.grad is not None
    np.testing.assert_array_equal(ours, data.grad.numpy())
