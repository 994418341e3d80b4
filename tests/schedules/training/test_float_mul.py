from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.float_mul import FLOAT_MUL

Pair = tuple[tuple[int, ...], tuple[int, ...]]
PAIRS: list[Pair] = [
    ((1, 3, 5, 7), (1, 3, 5, 7)),
    ((1, 3, 5, 7), (1, 1, 1, 7)),
    ((1, 2, 2, 16), (1, 1, 1, 16)),
    ((1, 3, 5, 2), (1, 1, 5, 2)),
    ((1, 3, 5, 7), (1, 1, 1, 1)),
    ((1, 4, 4, 1), (1, 1, 1, 1)),
    ((2, 33), (2, 33)),
    ((3, 8), (8,)),
    ((1,), (1,)),
]


def case(pair: Pair) -> Case:
    first, second = pair
    samples = [[make(first), make(second, 1)] for make in (floats, edges)]
    return Case(FLOAT_MUL, Attributes(), samples)


def by_constant(pair: Pair, value: Any) -> Case:
    samples = [[make(pair[0])] for make in (floats, edges)]
    return Case(FLOAT_MUL, Attributes(), samples, [None, value])


CASES = {f"{pair}": case(pair) for pair in PAIRS} | {
    f"{pair} by a constant": by_constant(pair, floats(pair[1], 1)) for pair in PAIRS
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_are_torchs(pair: Pair) -> None:
    check_gradients(CASES[f"{pair}"], torch.mul)
    constant = torch.tensor(floats(pair[1], 1).astype(float))
    check_gradients(CASES[f"{pair} by a constant"], lambda x: x * constant)
