from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.schedules.training.pool_cases import POOLS, attributes, nchw, nhwc, output_shape
from tests.schedules.training.training_cases import Case, check, compare, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.training.avg_pool2d_gradient import AVG_POOL2D_GRADIENT


def case(pool: Any) -> Case:
    attrs = attributes(*pool)
    return Case(AVG_POOL2D_GRADIENT, attrs, [[floats(output_shape(attrs, pool[1]))]])


CASES = {str(pool): case(pool) for pool in POOLS}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 1e-5)


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool[5] == (1, 1)])
def test_meaning_is_torch(pool: Any) -> None:
    size, channels, window, strides, padding, _ = pool
    attrs = attributes(*pool)
    data = torch.zeros((1, channels, *size), dtype=torch.float64, requires_grad=True)
    top, left, bottom, right = padding
    border = torch.nn.functional.pad
    sums = torch.nn.functional.avg_pool2d(
        border(data, (left, right, top, bottom)), window, strides, divisor_override=1
    )
    counts = torch.nn.functional.avg_pool2d(
        border(torch.ones_like(data), (left, right, top, bottom)),
        window,
        strides,
        divisor_override=1,
    )
    gradient = floats(output_shape(attrs, channels))
    (sums / counts.detach()).backward(nchw(gradient))
    compare(AVG_POOL2D_GRADIENT.meaning(attrs, gradient), nhwc(data.grad), 1e-5)
