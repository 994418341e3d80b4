from __future__ import annotations

from typing import Any

import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import TensorSpec


def concat_call(axis: int, *shapes: tuple[int, ...], dtype: str = "int8") -> Any:
    return call_of(CONCAT, ConcatAttributes(axis), *(TensorSpec(shape, dtype) for shape in shapes))


SUITE = Suite(
    models={
        "channels": lambda: one.concatenation([(2, 3, 4, 5), (2, 3, 4, 1), (2, 3, 4, 2)]),
        "width": lambda: one.concatenation([(2, 3, 4, 5), (2, 3, 1, 5)], 2),
        "batch": lambda: one.concatenation([(2, 3), (1, 3)], 0),
        "one tensor": lambda: one.concatenation([(2, 3)], 0),
    },
    calls={
        "one axis": lambda: concat_call(0, (3,), (4,), (1,)),
        "middle axis": lambda: concat_call(1, (2, 3, 4), (2, 1, 4)),
        "floats": lambda: concat_call(1, (2, 3), (2, 5), dtype="float32"),
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
    assert inferred(concat_call(1, (2, 3, 4), (2, 1, 4))) == TensorSpec((2, 4, 4), "int8")
