from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes

WINDOWS = {
    f"{kernel} {padding} stride {stride}": one.Window(kernel, (stride, stride), padding)
    for kernel, padding, stride in itertools.product(
        ((2, 2), (3, 3), (3, 2), (1, 4)), ("SAME", "VALID"), (1, 2, 3)
    )
}


def pool_call(seed: int, operator: Any = QAVG_POOL2D) -> Any:
    """Return a pooling with every property drawn at random; no window lies wholly outside."""
    generator = np.random.default_rng(seed)
    size = generator.integers(1, 5, 2)
    strides = generator.integers(1, 4, 2)
    padding = [int(generator.integers(0, size[axis % 2])) for axis in range(4)]
    attrs = QPool2DAttributes(
        strides=(int(strides[0]), int(strides[1])),
        padding=tuple(padding),  # type: ignore[arg-type]
        dilation=(1, 1),
        size=(int(size[0]), int(size[1])),
        clamp_min=-128 if seed % 2 else -30,
        clamp_max=127 if seed % 3 else 40,
    )
    height, width = (int(generator.integers(s, s + 7)) for s in size)
    shape = (int(generator.integers(1, 3)), height, width, int(generator.integers(1, 6)))
    return call_of(operator, attrs, TensorSpec(shape, "int8"))


SUITE = Suite(
    models={
        **{
            name: partial(one.pool2d, "AVERAGE_POOL_2D", (2, 7, 6, 3), window)
            for name, window in WINDOWS.items()
        },
        **{
            name: partial(one.pool2d, "AVERAGE_POOL_2D", (1, 5, 5, 4), activation=name)
            for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        },
        "whole image": lambda: one.pool2d(
            "AVERAGE_POOL_2D", (1, 7, 7, 5), one.Window((7, 7), padding="VALID")
        ),
    },
    calls={f"random {seed}": partial(pool_call, seed) for seed in range(30)},
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
        strides=(2, 1), padding=(0, 1, 1, 1), dilation=(1, 1), size=(2, 3), clamp_min=0, clamp_max=9
    )
    call = call_of(QAVG_POOL2D, attrs, TensorSpec((2, 7, 5, 3), "int8"))
    assert inferred(call) == TensorSpec((2, 4, 5, 3), "int8")
