from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.pad import PAD, PadAttributes

Widths = tuple[int, ...]


def pad_call(shape: Widths, before: Widths, after: Widths, dtype: str = "int8") -> Any:
    return call_of(PAD, PadAttributes(before, after, -5), TensorSpec(shape, dtype))


IMAGE = (2, 5, 4, 3)
SUITE = Suite(
    models={
        str(widths): partial(one.pad, IMAGE, widths)
        for widths in (
            ((0, 0), (1, 1), (1, 1), (0, 0)),
            ((0, 0), (0, 1), (2, 0), (0, 0)),
            ((1, 2), (0, 3), (4, 0), (2, 1)),
            ((0, 0), (0, 0), (0, 0), (0, 5)),
        )
    },
    calls={
        "one axis": lambda: pad_call((7,), (2,), (3,)),
        "two axes": lambda: pad_call((3, 4), (0, 1), (2, 0)),
        "three axes": lambda: pad_call((3, 4, 2), (0, 1, 0), (2, 0, 1)),
        "floats": lambda: pad_call((3, 4), (1, 1), (1, 1), "float32"),
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
    assert inferred(pad_call((3, 4), (0, 1), (2, 0))) == TensorSpec((5, 5), "int8")
