from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.qsoftmax import QSOFTMAX, QSoftmaxAttributes, exp_table, reciprocal


def softmax_call(shape: tuple[int, ...], scale: float) -> Any:
    return call_of(QSOFTMAX, QSoftmaxAttributes(scale), TensorSpec(shape, "int8"))


SCALES = (0.001, 0.02, 0.0625, 0.1, 0.25, 1.0, 3.0, 20.0)
SUITE = Suite(
    models={
        **{
            f"scale {scale}": partial(one.softmax, one.int8_tensor((3, 12), scale))
            for scale in SCALES
        },
        **{
            f"shape {shape}": partial(one.softmax, shape)
            for shape in ((1, 1), (1, 2), (2, 3, 4, 5), (1, 300))
        },
    },
    calls={
        **{f"call {scale}": partial(softmax_call, (2, 7), scale) for scale in SCALES},
        # outputs that round to zero, which TFLite Micro does not do; sums beyond 32 bits
        **{f"{size} classes": partial(softmax_call, (2, size), 0.001) for size in (511, 512, 4200)},
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 6)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    assert inferred(softmax_call((2, 7), 0.1)) == TensorSpec((2, 7), "int8")


@pytest.mark.parametrize("scale", SCALES)
def test_exponentials_are_close_to_exp(scale: float) -> None:
    table = exp_table(scale)
    assert table[0] == (1 << 31) - 1
    reals = np.exp(-scale * np.arange(256))
    np.testing.assert_allclose(table / 2.0**31, reals, atol=2e-7)
    assert (np.diff(table) <= 0).all()


@pytest.mark.parametrize("total", [1 << 19, (1 << 19) + 1, 12345678, (1 << 30) - 1, (1 << 31) - 1])
def test_reciprocal_is_close_to_the_real_one(total: int) -> None:
    value, bits = reciprocal(total)
    assert np.isclose(value / 2.0**31 * 2.0**-bits, 2.0**19 / total, rtol=1e-7)
