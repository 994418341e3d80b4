from __future__ import annotations

import pytest
import torch

from tests.schedules.training.derived_gradients import check_gradients
from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.training.float_pad import FLOAT_PAD, FloatPadAttributes

Widths = tuple[int, ...]
Row = tuple[Widths, Widths, Widths, float]
LARGE = 1e30  # beyond it a sum has no differences
PADS: list[Row] = [
    # shape, before, after, value
    ((1, 3, 5, 4), (0, 1, 1, 0), (0, 1, 1, 0), 0.0),
    ((1, 3, 5, 3), (0, 2, 0, 0), (0, 0, 3, 0), -0.0),
    ((1, 3, 2, 7), (0, 0, 0, 1), (0, 0, 0, 2), 0.1),
    ((2, 1, 2, 5), (1, 0, 1, 0), (0, 2, 0, 3), -3e38),
    ((1, 1, 1, 1), (0, 1, 0, 0), (0, 0, 0, 0), 1e-42),
    ((3, 4), (0, 1), (2, 0), -7.0),
    ((6,), (2,), (3,), 1 / 3),
    ((2, 3), (0, 0), (0, 0), 1.0),
]
CASES = {
    f"{row}": Case(
        FLOAT_PAD, FloatPadAttributes(*row[1:]), [[make(row[0])] for make in (floats, edges)]
    )
    for row in PADS
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@pytest.mark.parametrize("row", [row for row in PADS if row[3] > -LARGE])
def test_gradients_are_torchs(row: Row) -> None:
    _, before, after, value = row
    sides = [width for pair in zip(before[::-1], after[::-1], strict=True) for width in pair]
    check_gradients(CASES[f"{row}"], lambda x: torch.nn.functional.pad(x, sides, value=value))
