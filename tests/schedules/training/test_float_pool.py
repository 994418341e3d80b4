from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.pool_cases import POOLS, attributes, nchw, nhwc, output_shape
from tests.schedules.training.training_cases import Case, check, compare, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.training.float_pool import (
    FLOAT_AVG_POOL2D,
    FLOAT_MAX_POOL2D,
    FloatPool2DAttributes,
)
from tvm_tiny.schedules.training.max_pool2d_gradient import MAX_POOL2D_GRADIENT


def forward(pool: Any) -> FloatPool2DAttributes:
    _, _, window, strides, padding, dilation = pool
    return FloatPool2DAttributes(strides, padding, dilation, window)


def image(pool: Any) -> Any:
    """Return numbers around 3, some of which are the same."""
    size, channels = pool[:2]
    return np.round(3 + floats((1, *size, channels)), 1)


def backward(pool: Any) -> Case:
    attrs, data = attributes(*pool), image(pool)
    found = FLOAT_MAX_POOL2D.meaning(forward(pool), data)
    sample = [floats(output_shape(attrs, pool[1])), data, found]
    return Case(MAX_POOL2D_GRADIENT, attrs, [sample])


CASES = {
    f"{operator.name} {pool}": Case(operator, forward(pool), [[image(pool)]])
    for operator in (FLOAT_MAX_POOL2D, FLOAT_AVG_POOL2D)
    for pool in POOLS
} | {f"gradient {pool}": backward(pool) for pool in POOLS}


@quick_some("name", CASES, 5)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_meanings_are_torch(pool: Any) -> None:
    _, channels, window, strides, (top, left, bottom, right), dilation = pool
    data = nchw(image(pool)).requires_grad_(True)
    sides = (left, right, top, bottom)
    padded = torch.nn.functional.pad(data, sides, value=-np.inf)
    pooled = torch.nn.functional.max_pool2d(padded, window, strides, 0, dilation)
    compare(FLOAT_MAX_POOL2D.meaning(forward(pool), image(pool)), nhwc(pooled), 1e-6)
    gradient = floats(output_shape(attributes(*pool), channels))
    pooled.backward(nchw(gradient))
    found = FLOAT_MAX_POOL2D.meaning(forward(pool), image(pool))
    ours = MAX_POOL2D_GRADIENT.meaning(attributes(*pool), gradient, image(pool), found)
    compare(ours, nhwc(data.grad), 1e-5)
    if dilation == (1, 1):
        sums, ones = (
            torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, sides), window, strides)
            for x in (data, torch.ones_like(data))
        )
        compare(FLOAT_AVG_POOL2D.meaning(forward(pool), image(pool)), nhwc(sums / ones), 1e-5)
