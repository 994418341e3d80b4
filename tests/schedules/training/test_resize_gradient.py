from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.schedules.training.pool_cases import nchw, nhwc
from tests.schedules.training.training_cases import Case, check, compare, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.resize import ResizeAttributes
from tvm_tiny.schedules.training.resize_gradient import RESIZE_GRADIENT

RESIZES = [((2, 3), 5, (2, 3)), ((4, 4), 8, (2, 2)), ((3, 2), 1, (1, 4)), ((1, 1), 3, (5, 1))]


def case(size: tuple[int, int], channels: int, factors: tuple[int, int]) -> Case:
    shape = (1, size[0] * factors[0], size[1] * factors[1], channels)
    return Case(RESIZE_GRADIENT, ResizeAttributes(factors), [[floats(shape)], [edges(shape)]])


CASES = {f"{row}": case(*row) for row in RESIZES}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize(("size", "channels", "factors"), RESIZES)
def test_meaning_is_torch(size: Any, channels: int, factors: Any) -> None:
    data = torch.zeros((1, channels, *size), dtype=torch.float64, requires_grad=True)
    resized = torch.nn.functional.interpolate(data, scale_factor=factors, mode="nearest")
    gradient = floats((1, *resized.shape[2:], channels))
    resized.backward(nchw(gradient))
    ours = RESIZE_GRADIENT.meaning(ResizeAttributes(factors), gradient)
    compare(ours, nhwc(data.grad), 1e-5)
