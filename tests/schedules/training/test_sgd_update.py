from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, compare, edges, floats
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.training.sgd_update import SGD_UPDATE, SgdUpdateAttributes, infer

RATES = (0.05, 1.0, 1e30, np.inf, np.nan, 0.0)
# shape, axis of the scale, channels of the last axis
PLACES: list[tuple[tuple[int, ...], int, tuple[int, ...]]] = [
    ((5, 1, 1, 12), 0, ()),
    ((5, 3, 3, 4), 0, (2, 0)),
    ((3, 3, 7), 2, ()),
    ((3, 3, 7), -1, (6, 1, 3)),
    ((9,), 0, ()),
    ((4, 6), 0, (0, 1, 2, 3, 4, 5)),
    ((4, 6), 1, (5, 4, 3, 2, 1, 0)),
]


def parameters(shape: tuple[int, ...], dtype: str) -> list[Array]:
    generator = np.random.default_rng(1)
    if dtype == "float32":
        return [floats(shape, 2), edges(shape, 2)]
    limit = 127 if dtype == "int8" else 2**31 - 1
    some = generator.integers(-100, 101, shape).astype(dtype)
    return [some, generator.choice([-limit, limit, 0, 1], shape).astype(dtype)]


def case(
    dtype: str, shape: tuple[int, ...], axis: int, channels: tuple[int, ...], scales: int
) -> Case:
    limit = {"int8": 127, "int32": 2**31 - 1, "float32": 0}[dtype]
    part = (*shape[:-1], len(channels) or shape[-1])
    halves = np.random.default_rng(0).integers(-9, 10, part).astype(np.float32) / 2
    scale = np.abs(floats((scales,), 5, 2))
    samples: list[Any] = [
        [parameter, gradient, np.array([rate], np.float32), scale]
        for parameter in parameters(shape, dtype)
        for gradient in (floats(part, scale=30), edges(part))
        for rate in RATES
    ]
    one = np.ones_like(scale)
    ties = [[p, halves, np.ones(1, np.float32), one] for p in parameters(shape, dtype)]
    return Case(SGD_UPDATE, SgdUpdateAttributes(axis, channels, limit), [*samples, *ties])


CASES = {
    f"{dtype} {shape} axis {axis} channels {channels} scales {scales}": case(
        dtype, shape, axis, channels, scales
    )
    for dtype in ("int8", "int32", "float32")
    for shape, axis, channels in PLACES
    for scales in {shape[axis], 1}
}


@quick_some("name", CASES, 5)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


def test_meaning_is_torch() -> None:
    parameter, gradient = floats((3, 4)), floats((3, 4), 1)
    tensor = torch.nn.Parameter(torch.tensor(parameter))
    tensor.grad = torch.tensor(gradient)
    torch.optim.SGD([tensor], lr=0.3).step()
    rate, scale = np.array([0.3], np.float32), np.ones(1, np.float32)
    ours = SGD_UPDATE.meaning(SgdUpdateAttributes(0, (), 0), parameter, gradient, rate, scale)
    compare(ours, tensor.detach().numpy(), 1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_halves_go_to_even_and_limits_hold(dtype: str) -> None:
    parameter = np.array([0, 1, 2, 126, -126, 5, 5], dtype)
    gradient = np.array([0.5, 0.5, 0.5, -9, 9, np.nan, np.inf], np.float32)
    one = np.ones(1, np.float32)
    attrs = SgdUpdateAttributes(0, (), 127)
    ours = SGD_UPDATE.meaning(attrs, parameter, gradient, one, one)
    # int8 rounds what it becomes, int32 the step
    moved = [0, 0, 2] if dtype == "int8" else [0, 1, 2]
    assert ours.tolist() == [*moved, 127, -127, 5, 5]


def test_what_float_does_not_hold_stays() -> None:
    parameter, one = np.array([2**24 + 1], np.int32), np.ones(1, np.float32)
    attrs = SgdUpdateAttributes(0, (), 2**30)
    assert SGD_UPDATE.meaning(attrs, parameter, one, one, one).tolist() == [2**24]
    assert SGD_UPDATE.meaning(attrs, parameter, 0 * one, one, one).tolist() == [2**24 + 1]


def test_types_without_an_update() -> None:
    attrs, spec = SgdUpdateAttributes(0, (), 127), TensorSpec((3,), "int16")
    with pytest.raises(UnsupportedError, match="int16"):
        infer(attrs, spec, spec, spec, spec)
