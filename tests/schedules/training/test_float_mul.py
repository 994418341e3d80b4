from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import PAIRS, Case, Pair, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.float_mul import FLOAT_MUL


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
