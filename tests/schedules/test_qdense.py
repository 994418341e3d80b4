from __future__ import annotations

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
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import OPERATORS, TensorSpec, attributes_of
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes


def dense_call(seed: int, real: float | None = None) -> Any:
    """Return a dense layer with every property drawn at random."""
    generator = np.random.default_rng(seed)
    rows, depth, channels = (int(n) for n in generator.integers(1, [4, 40, 20]))
    attrs = QDenseAttributes(
        input_zero_point=int(generator.integers(-128, 128)),
        output_zero_point=int(generator.integers(-128, 128)),
        clamp_min=-128 if seed % 2 else -30,
        clamp_max=127 if seed % 3 else 40,
    )
    spread = generator.choice([0.0, 3.0])
    reals = (real or 0.01 / np.sqrt(depth)) * 2.0 ** generator.uniform(-spread, spread, channels)
    weight = generator.integers(-128, 128, (channels, depth), np.int8)
    bias = generator.integers(-5000, 5000, channels, np.int32)
    numbers = numerics.quantize_multiplier(reals)
    return call_of(QDENSE, attrs, TensorSpec((rows, depth), "int8"), weight, bias, *numbers)


PER_TENSOR = one.Weights(per_channel=False)
SUITE = Suite(
    models={
        **{
            f"{depth} to {units}": partial(one.fully_connected, (1, depth), units)
            for depth, units in ((20, 7), (1, 1), (64, 12), (33, 4), (128, 9))
        },
        **{
            name: partial(one.fully_connected, (1, 16), 8, activation=name)
            for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        },
        "batch": lambda: one.fully_connected((3, 10), 5, weights=PER_TENSOR),
        "flattened": lambda: one.fully_connected((2, 3, 4, 10), 5),
        "kept axes": lambda: one.fully_connected((2, 3, 10), 5, keep_num_dims=True),
        "no bias": lambda: one.fully_connected((1, 10), 5, weights=one.Weights(bias=False)),
        "per tensor": lambda: one.fully_connected((1, 10), 6, weights=PER_TENSOR),
        "zero point at the low end": lambda: one.fully_connected(
            one.int8_tensor((1, 12), zero_point=-128), 4
        ),
        "zero point at the high end": lambda: one.fully_connected(
            one.int8_tensor((1, 12), zero_point=127), 4
        ),
    },
    calls={
        **{f"random {seed}": partial(dense_call, seed) for seed in range(30)},
        "scale above one": partial(dense_call, 100, 1.7),
        "vanishing scale": partial(dense_call, 101, 2.0**-40),
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 7)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def simple(shape: tuple[int, ...], bias: int = 0) -> Any:
    numbers = numerics.quantize_multiplier(np.full(6, 2.0**-23.5))
    return call_of(
        QDENSE,
        QDenseAttributes(-128, -128, -128, 127),
        TensorSpec(shape, "int8"),
        np.full((6, shape[-1]), 127, np.int8),
        np.full(6, bias, np.int32),
        *numbers,
    )


def test_type_and_macs() -> None:
    call = simple((2, 3, 10))
    assert inferred(call) == TensorSpec((2, 3, 6), "int8")
    arguments = [TensorSpec((2, 3, 10), "int8"), np.ones((6, 10), np.int8)]
    assert OPERATORS["tiny.qdense"].macs(attributes_of(call), *arguments) == 2 * 3 * 6 * 10


def test_a_sum_that_could_overflow_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="32-bit accumulator could overflow"):
        lower(simple((1, 400), bias=(1 << 31) - 1000))
