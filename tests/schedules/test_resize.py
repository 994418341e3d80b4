from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes


def resize_call(shape: tuple[int, ...], factors: tuple[int, int], dtype: str = "int8") -> Any:
    return call_of(RESIZE, ResizeAttributes(factors), TensorSpec(shape, dtype))


SUITE = Suite(
    models={
        str(size): partial(one.resize_nearest_neighbor, (2, 3, 4, 5), size)
        for size in ((6, 8), (3, 12), (9, 4))
    },
    calls={
        "one pixel": lambda: resize_call((1, 1, 1, 3), (4, 5)),
        "floats": lambda: resize_call((2, 3, 2, 1), (1, 3), "float32"),
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@pytest.mark.parametrize("name", SUITE.names)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    assert inferred(resize_call((2, 3, 4, 5), (2, 3))) == TensorSpec((2, 6, 12, 5), "int8")
