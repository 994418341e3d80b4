from __future__ import annotations

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import PAIRS, Case, Pair, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.float_add import FLOAT_ADD

CASES = {
    f"{pair}": Case(
        FLOAT_ADD, Attributes(), [[make(pair[0]), make(pair[1], 1)] for make in (floats, edges)]
    )
    for pair in PAIRS
} | {
    f"{pair} and a constant": Case(
        FLOAT_ADD,
        Attributes(),
        [[make(pair[0])] for make in (floats, edges)],
        [None, floats(pair[1], 1)],
    )
    for pair in PAIRS
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_are_torchs(pair: Pair) -> None:
    check_gradients(CASES[f"{pair}"], torch.add)
    constant = torch.tensor(floats(pair[1], 1).astype(float))
    check_gradients(CASES[f"{pair} and a constant"], lambda x: x + constant)
