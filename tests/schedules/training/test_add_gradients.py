from __future__ import annotations

import pytest

from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.add_gradients import ADD_GRADIENTS

CASES = {
    str(shape): Case(
        ADD_GRADIENTS,
        Attributes(),
        [[floats(shape), floats(shape, 1)], [edges(shape), edges(shape, 1)]],
    )
    for shape in [(1,), (7,), (1, 8), (1, 3, 5, 7), (1, 4, 4, 48), (1, 2, 2, 33), (31,), (33,)]
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])
