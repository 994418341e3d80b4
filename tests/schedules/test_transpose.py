from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes, moves_data


def transpose_call(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str = "int8") -> Any:
    return call_of(TRANSPOSE, TransposeAttributes(axes), TensorSpec(shape, dtype))


SUITE = Suite(
    models={
        str(axes): partial(one.transpose, (2, 3, 4, 5), axes)
        for axes in itertools.permutations(range(4))
    },
    calls={
        "three axes": lambda: transpose_call((2, 3, 4), (2, 0, 1)),
        "two axes": lambda: transpose_call((3, 4), (1, 0)),
        "one axis": lambda: transpose_call((3,), (0,)),
        "floats": lambda: transpose_call((2, 3, 4), (1, 2, 0), "float32"),
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 7)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    assert inferred(transpose_call((2, 3, 4), (2, 0, 1))) == TensorSpec((4, 2, 3), "int8")


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((1, 3, 1, 5), (0, 2, 1, 3), False),
        ((1, 3, 1, 5), (0, 3, 1, 2), True),
        ((2, 3), (0, 1), False),
        ((2, 3), (1, 0), True),
        ((1, 7), (1, 0), False),
    ],
)
def test_only_extents_above_one_move_bytes(
    shape: tuple[int, ...], axes: tuple[int, ...], expected: bool
) -> None:
    assert moves_data(TransposeAttributes(axes), TensorSpec(shape, "int8")) is expected
