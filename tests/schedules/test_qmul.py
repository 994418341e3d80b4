from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.calls import lower
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import qmul
from tvm_tiny.schedules.dialect import TensorSpec

IMAGE = (1, 6, 5, 4)
SHAPES = [
    (IMAGE, IMAGE),
    (IMAGE, (1, 1, 1, 4)),
    ((1, 1, 1, 4), IMAGE),
    (IMAGE, (1,)),
    ((4,), IMAGE),
    (IMAGE, (1, 6, 1, 4)),
    ((2, 1, 5, 1), (1, 6, 1, 4)),
]


def mul_call(seed: int) -> Any:
    """Return a product with scales and zero points drawn at random."""
    generator = np.random.default_rng(seed)
    scales = 2.0 ** generator.uniform(-9, 3, 3)
    points = generator.integers(-128, 128, 3)
    attrs = qmul.attributes(tuple(map(float, scales)), tuple(map(int, points)))  # type: ignore[arg-type]
    shape = tuple(int(n) for n in generator.integers(1, 6, generator.integers(1, 5)))
    return call_of(qmul.QMUL, attrs, TensorSpec(shape, "int8"), TensorSpec(shape, "int8"))


SUITE = Suite(
    models={
        **{
            f"{builtin} {left} {right} constant {constant}": partial(
                one.binary, builtin, left, right, constant=constant
            )
            for builtin, (left, right), constant in itertools.product(
                ("MUL",), SHAPES, (None, "left", "right")
            )
        },
        **{
            f"{builtin} {name}": partial(one.binary, builtin, IMAGE, IMAGE, activation=name)
            for builtin in ("MUL",)
            for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        },
    },
    calls={f"random {seed}": partial(mul_call, seed) for seed in range(30)},
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 11)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    attrs = qmul.attributes((1.0, 1.0, 1.0), (0, 0, 0))
    call = call_of(qmul.QMUL, attrs, TensorSpec((2, 1, 5), "int8"), np.zeros((4, 1), np.int8))
    assert inferred(call) == TensorSpec((2, 4, 5), "int8")


def test_scales_that_are_too_far_apart_are_an_error() -> None:
    attrs = qmul.attributes((2.0**6, 2.0**6, 2.0**-8), (0, 0, 0))
    with pytest.raises(UnsupportedError, match="32 bits could overflow"):
        lower(call_of(qmul.QMUL, attrs, TensorSpec((3,), "int8"), TensorSpec((3,), "int8")))
