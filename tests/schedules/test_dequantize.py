from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.tflite_writer import Model
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import TensorSpec

PARAMETERS = [(1.0, 0), (0.1, -3), (0.0123, 127), (1 / 256, -128), (3e-8, 5)]


def dequantize_call(scale: float, zero_point: int) -> Any:
    attrs = DequantizeAttributes(float(np.float32(scale)), zero_point)
    return call_of(DEQUANTIZE, attrs, TensorSpec((4, 70), "int8"))


def dequantize_model(scale: float, zero_point: int) -> Model:
    return one.dequantize(one.int8_tensor((4, 70), scale, zero_point))


SUITE = Suite(
    models={f"{s} {z}": partial(dequantize_model, s, z) for s, z in PARAMETERS},
    calls={f"call {s} {z}": partial(dequantize_call, s, z) for s, z in PARAMETERS},
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@pytest.mark.parametrize("name", SUITE.names)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_type() -> None:
    assert inferred(dequantize_call(1.0, 0)) == TensorSpec((4, 70), "float32")
