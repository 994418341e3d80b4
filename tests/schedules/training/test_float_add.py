from __future__ import annotations

import pytest

from tests.schedules.training.training_cases import Case, check, edges, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.float_add import FLOAT_ADD

SHAPE = (1, 3, 5, 7)
SAMPLES = [[floats(SHAPE), floats(SHAPE, 1)], [edges(SHAPE), edges(SHAPE, 1)]]
CASES = {"add": Case(FLOAT_ADD, Attributes(), SAMPLES)}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])
