from __future__ import annotations

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.resize import ResizeAttributes
from tvm_tiny.schedules.training.float_resize import FLOAT_RESIZE

Row = tuple[tuple[int, ...], tuple[int, int]]
RESIZES: list[Row] = [
    ((1, 2, 3, 5), (2, 3)),
    ((1, 4, 4, 8), (2, 2)),
    ((2, 3, 2, 1), (1, 4)),
    ((1, 1, 1, 3), (5, 1)),
    ((1, 3, 2, 4), (1, 1)),
]
CASES = {
    f"{row}": Case(
        FLOAT_RESIZE, ResizeAttributes(row[1]), [[make(row[0])] for make in (floats, edges)]
    )
    for row in RESIZES
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("row", RESIZES)
def test_gradients_are_torchs(row: Row) -> None:
    def resized(x: torch.Tensor) -> torch.Tensor:
        factors = tuple(float(factor) for factor in row[1])
        planes = x.permute(0, 3, 1, 2)
        grown = torch.nn.functional.interpolate(planes, scale_factor=factors, mode="nearest")
        return grown.permute(0, 2, 3, 1)

    check_gradients(CASES[f"{row}"], resized)
