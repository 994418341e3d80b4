from __future__ import annotations

import numpy as np
import pytest

from tests.schedules.training.training_cases import Case, check, floats
from tests.support.kernels import Library
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.pad import PadAttributes
from tvm_tiny.schedules.pad import meaning as pad
from tvm_tiny.schedules.training.slice_gradient import (
    SLICE_GRADIENT,
    SliceGradientAttributes,
    kernel,
)

SLICES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    # shape, begin, part
    ((1, 5, 6, 7), (0, 1, 2, 0), (1, 3, 3, 7)),
    ((1, 5, 6, 7), (0, 0, 0, 3), (1, 5, 6, 4)),
    ((1, 5, 6, 7), (0, 4, 5, 6), (1, 1, 1, 1)),
    ((2, 5, 6, 8), (1, 0, 0, 0), (1, 5, 6, 8)),
    ((9,), (2,), (5,)),
    ((3, 8), (0, 1), (3, 7)),
]
CASES = {
    f"{row}": Case(SLICE_GRADIENT, SliceGradientAttributes(*row[1:]), [[floats(row[0])]])
    for row in SLICES
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


def test_it_is_the_gradient_of_pad() -> None:
    data = np.arange(60).reshape(1, 4, 5, 3).astype(np.int8)
    padded = pad(PadAttributes((0, 1, 2, 0), (0, 2, 1, 0), -5), data).astype(np.float32)
    attrs = SliceGradientAttributes((0, 1, 2, 0), data.shape)
    np.testing.assert_array_equal(SLICE_GRADIENT.meaning(attrs, padded), data)


def test_too_many_axes() -> None:
    attrs = SliceGradientAttributes((0,) * 5, (1,) * 5)
    with pytest.raises(UnsupportedError, match="more axes than four"):
        kernel(attrs, TensorSpec((2,) * 5, "float32"))
