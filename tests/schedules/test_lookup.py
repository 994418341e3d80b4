from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes


def lookup_call(shape: tuple[int, ...]) -> Any:
    table = np.random.default_rng(0).integers(-128, 128, 256, np.int8)
    return call_of(LOOKUP, LookupAttributes("random"), TensorSpec(shape, "int8"), table)


SUITE = Suite(
    models={
        "requantise to a coarser scale": lambda: one.quantize(one.int8_tensor((4, 64), 0.01)),
        "requantise to a finer scale": lambda: one.quantize(one.int8_tensor((4, 64), 0.11, 100)),
        **{
            f"{builtin} by a constant {side}": partial(one.binary, builtin, *shapes, constant=side)
            for builtin in ("ADD", "SUB", "MUL")
            for side, shapes in (("left", ((1,), (4, 64))), ("right", ((4, 64), (1,))))
        },
    },
    calls={str(shape): partial(lookup_call, shape) for shape in ((1,), (3, 5), (2, 3, 4, 5))},
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@pytest.mark.parametrize("name", SUITE.names)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    assert inferred(lookup_call((2, 3))) == TensorSpec((2, 3), "int8")
