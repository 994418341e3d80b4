from __future__ import annotations

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.concat import ConcatAttributes
from tvm_tiny.schedules.training.float_concat import FLOAT_CONCAT

Shape = tuple[int, ...]
PARTS: list[tuple[int, list[Shape]]] = [
    (3, [(1, 3, 5, 4), (1, 3, 5, 1), (1, 3, 5, 7)]),
    (-1, [(1, 2, 2, 1), (1, 2, 2, 1)]),
    (1, [(1, 2, 5, 3), (1, 1, 5, 3)]),
    (2, [(1, 4, 2, 3), (1, 4, 3, 3)]),
    (1, [(1, 9), (1, 1), (1, 8), (1, 3)]),
    (0, [(4,), (2,)]),
    (0, [(1, 3)]),
]
CASES = {
    f"{row}": Case(
        FLOAT_CONCAT,
        ConcatAttributes(row[0]),
        [[make(s, i) for i, s in enumerate(row[1])] for make in (floats, edges)],
    )
    for row in PARTS
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("row", PARTS)
def test_gradients_are_torchs(row: tuple[int, list[Shape]]) -> None:
    def concatenated(*tensors: torch.Tensor) -> torch.Tensor:
        return torch.cat(tensors, row[0])

    check_gradients(CASES[f"{row}"], concatenated)
