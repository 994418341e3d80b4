from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.pool_cases import POOLS, attributes, nchw, nhwc, output_shape
from tests.schedules.training.training_cases import Case, bytes_of, check, compare, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules import qmax_pool2d
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.training.max_pool2d_gradient import MAX_POOL2D_GRADIENT


def sample(attrs: Any, channels: int, data: Array) -> list[Array]:
    gradient = floats(output_shape(attrs, channels))
    return [gradient, data, qmax_pool2d.meaning(attrs, data)]


def case(pool: Any, clamp: tuple[int, int]) -> Case:
    attrs, channels = replace(attributes(*pool), clamp_min=clamp[0], clamp_max=clamp[1]), pool[1]
    shape = (1, *attrs.input_size, channels)
    images = [bytes_of(shape), bytes_of(shape) // 64, np.full(shape, -128, np.int8)]
    samples = [sample(attrs, channels, data) for data in images]
    return Case(MAX_POOL2D_GRADIENT, attrs, samples)


CASES = {
    f"{pool} {clamp}": case(pool, clamp) for pool in POOLS for clamp in ((-128, 127), (-20, 90))
}


@quick_some("name", CASES, 4)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("pool", POOLS)
def test_meaning_is_torch(pool: Any) -> None:
    size, channels, window, strides, (top, left, bottom, right), dilation = pool
    attrs = attributes(*pool)
    # all different, so that torch has no choice
    numbers = np.random.default_rng(0).permutation(int(np.prod(size)) * channels)
    image = numbers.reshape(1, *size, channels).astype(np.int64)
    data = nchw(image).requires_grad_(True)
    padded = torch.nn.functional.pad(data, (left, right, top, bottom), value=-1)
    pooled = torch.nn.functional.max_pool2d(padded, window, strides, 0, dilation)
    gradient = floats(output_shape(attrs, channels))
    pooled.backward(nchw(gradient))
    ours = MAX_POOL2D_GRADIENT.meaning(attrs, gradient, image, nhwc(pooled).astype(np.int64))
    compare(ours, nhwc(data.grad), 1e-5)


def test_the_first_of_equals_has_all() -> None:
    attrs = attributes((2, 2), 1, (2, 2), (1, 1), (0, 0, 0, 0), (1, 1))
    data = np.array([1, 5, 5, 5], np.int8).reshape(1, 2, 2, 1)
    ours = MAX_POOL2D_GRADIENT.meaning(attrs, *sample(attrs, 1, data))
    assert np.flatnonzero(ours).tolist() == [1]
