from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.calls import lower
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count

SHAPE = (2, 5, 3, 7)
AXES = [(1, 2), (1,), (2,), (3,), (0, 1), (2, 3), (1, 2, 3), (0, 1, 2, 3)]


def mean_call(shape: tuple[int, ...], axes: tuple[int, ...], real: float, keep: int) -> object:
    count = int(np.prod([shape[axis] for axis in axes]))
    attrs = QMeanAttributes(axes, keep, -7, 11, *fold_count(real, count))
    return call_of(QMEAN, attrs, TensorSpec(shape, "int8"))


SUITE = Suite(
    models={
        f"{axes} {'kept' if keep else 'dropped'}": lambda axes=axes, keep=keep: one.mean(
            SHAPE, axes, keep_dims=keep
        )
        for axes, keep in itertools.product(AXES, (False, True))
    }
    | {
        "three axes": lambda: one.mean((3, 7, 5), (1,)),
        "zero point at an end": lambda: one.mean(one.int8_tensor((1, 4, 4, 3), zero_point=-128)),
        "twelve channels": lambda: one.mean((2, 5, 3, 12)),
        "large count": lambda: one.mean((1, 24, 24, 2)),
    },
    calls={
        "scale above one": lambda: mean_call((1, 3, 3, 2), (1, 2), 17.3, 0),
        "scale far above one": lambda: mean_call((1, 2, 2, 2), (1, 2), 900.0, 0),
        "tiny scale": lambda: mean_call((1, 3, 3, 2), (1, 2), 1e-4, 0),
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 6)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


@pytest.mark.parametrize(("keep", "shape"), [(0, (2, 7)), (1, (2, 1, 1, 7))])
def test_type(keep: int, shape: tuple[int, ...]) -> None:
    assert inferred(mean_call(SHAPE, (1, 2), 1.0, keep)) == TensorSpec(shape, "int8")


def test_axes_that_are_not_adjacent_are_an_error() -> None:
    with pytest.raises(UnsupportedError, match="axes that are not adjacent") as caught:
        lower(mean_call(SHAPE, (1, 3), 1.0, 0))
    assert caught.value.found == (1, 3)


@pytest.mark.parametrize("count", [1, 2, 3, 49, 1000])
def test_the_count_folds_into_the_multiplier(count: int) -> None:
    multiplier, shift = fold_count(0.37, count)
    assert np.isclose(multiplier * 2.0 ** (shift - 31), 0.37 / count, rtol=1e-6)


def test_a_scale_that_is_too_large_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="32 bits could overflow"):
        lower(mean_call((1, 2, 2, 1), (1, 2), 2.0**24, 0))
