from __future__ import annotations

from functools import partial

import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.schedules.test_qavg_pool2d import WINDOWS, pool_call
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D

SUITE = Suite(
    models={
        **{
            name: partial(one.pool2d, "MAX_POOL_2D", (2, 7, 6, 3), window)
            for name, window in WINDOWS.items()
        },
        **{
            name: partial(one.pool2d, "MAX_POOL_2D", (1, 5, 5, 4), activation=name)
            for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        },
    },
    calls={f"random {seed}": partial(pool_call, seed, QMAX_POOL2D) for seed in range(30)},
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 8)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    attrs = QPool2DAttributes(
        strides=(2, 2), padding=(0, 0, 1, 0), dilation=(1, 1), size=(3, 3), clamp_min=0, clamp_max=9
    )
    call = call_of(QMAX_POOL2D, attrs, TensorSpec((1, 8, 7, 3), "int8"))
    assert inferred(call) == TensorSpec((1, 4, 3, 3), "int8")
