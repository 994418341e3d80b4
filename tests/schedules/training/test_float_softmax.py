from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, compare, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.training.float_softmax import FLOAT_SOFTMAX

SAMPLES = [floats((3, 7)), floats((3, 7), 1, 40.0), np.full((3, 7), -3e38, np.float32)]
CASES = {
    "rows": Case(FLOAT_SOFTMAX, Attributes(), [[values] for values in SAMPLES]),
    "one": Case(FLOAT_SOFTMAX, Attributes(), [[floats((1, 1))]]),
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 1e-6)


def test_meaning_is_torch() -> None:
    for values in SAMPLES:
        expected = torch.softmax(torch.tensor(values.astype(np.float64)), 1).numpy()
        compare(FLOAT_SOFTMAX.meaning(Attributes(), values), expected, 1e-6)
