from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.random_calls import coarse_call, square_depthwise_call
from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.calls import lower
from tests.support.evaluate_tiny import evaluate, rewrite
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tests.support.tflite_writer import MISSING, Model, write
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import OPERATORS, TensorSpec, attributes_of
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

WINDOWS = {
    f"{padding} stride {stride} dilation {dilation}": one.Window(
        (3, 2), (stride, stride), padding, (dilation, dilation)
    )
    for padding, stride, dilation in itertools.product(("SAME", "VALID"), (1, 2), (1, 2))
    if stride == 1 or dilation == 1
}
SQUARE = {f"{k}x{k} stride {s}": one.Window((k, k), (s, s)) for k in (3, 5, 7) for s in (1, 2)}


def depthwise_call(seed: int, real: float | None = None) -> Any:
    """Return a depthwise convolution with every property drawn at random."""
    generator = np.random.default_rng(seed)
    depth, per_input = int(generator.integers(1, 10)), int(generator.choice([1, 1, 2, 3]))
    channels = depth * per_input
    kernel = tuple(int(n) for n in generator.integers(1, 6, 2))
    padding = tuple(int(n) for n in generator.integers(0, min(kernel), 4))
    strides, dilation = generator.integers(1, 4, 2), generator.integers(1, 3, 2)
    attrs = QDepthwiseConv2DAttributes(
        input_zero_point=int(generator.integers(-128, 128)),
        output_zero_point=int(generator.integers(-128, 128)),
        clamp_min=-128 if seed % 2 else -30,
        clamp_max=127 if seed % 3 else 40,
        strides=(int(strides[0]), int(strides[1])),
        padding=padding,  # type: ignore[arg-type]
        dilation=(int(dilation[0]), int(dilation[1])),
    )
    size = [int(generator.integers(k * 2, k * 2 + 7)) for k in kernel]
    data = TensorSpec((int(generator.integers(1, 3)), *size, depth), "int8")
    spread = generator.choice([0.0, 3.0])
    typical = 0.01 / np.sqrt(np.prod(kernel))
    reals = (real or typical) * 2.0 ** generator.uniform(-spread, spread, channels)
    weight = generator.integers(-128, 128, (*kernel, channels), np.int8)
    bias = generator.integers(-5000, 5000, channels, np.int32)
    numbers = numerics.quantize_multiplier(reals)
    return call_of(QDEPTHWISE_CONV2D, attrs, data, weight, bias, *numbers)


SUITE = Suite(
    models={
        **{
            name: partial(one.depthwise_conv2d, (2, 9, 8, 5), 1, window)
            for name, window in WINDOWS.items()
        },
        **{
            name: partial(one.depthwise_conv2d, (1, 9, 8, 4), 1, window)
            for name, window in SQUARE.items()
        },
        **{
            f"multiplier {m} of {c} channels": partial(one.depthwise_conv2d, (1, 5, 4, c), m)
            for m, c in ((2, 3), (2, 4), (3, 2), (8, 1), (4, 2))
        },
        **{
            name: partial(one.depthwise_conv2d, (1, 5, 4, 8), activation=name)
            for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        },
        "per tensor": lambda: one.depthwise_conv2d(
            (1, 5, 5, 6), weights=one.Weights(per_channel=False)
        ),
        "weights of -128": lambda: one.depthwise_conv2d(
            (1, 5, 5, 4), weights=one.Weights(lowest=-128)
        ),
        "zero point at the low end": lambda: one.depthwise_conv2d(
            one.int8_tensor((1, 6, 5, 4), zero_point=-128)
        ),
        "zero point at the high end": lambda: one.depthwise_conv2d(
            one.int8_tensor((1, 6, 5, 4), zero_point=127)
        ),
        "tall and narrow": lambda: one.depthwise_conv2d((1, 25, 5, 11)),
        "image smaller than the kernel": lambda: one.depthwise_conv2d(
            (1, 2, 3, 4), 1, one.Window((5, 5))
        ),
    },
    calls={
        **{f"random {seed}": partial(depthwise_call, seed) for seed in range(40)},
        **{f"square {seed}": partial(square_depthwise_call, seed) for seed in range(24)},
        **{f"coarse {seed}": partial(coarse_call, seed) for seed in (0, 2, 3, 6, 9, 10)},
        "scale above one": partial(depthwise_call, 100, 1.7),
        "vanishing scale": partial(depthwise_call, 101, 2.0**-40),
    },
)
# each has kernels that no other case has
QUICK_TOO = ("RELU_N1_TO_1", "multiplier 8 of 1 channels")


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 16, QUICK_TOO)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def simple(channels: int, bias: int = 0, kernel: int = 3) -> Any:
    attrs = QDepthwiseConv2DAttributes(
        -128, -128, -128, 127, strides=(2, 1), padding=(0, 1, 1, 1), dilation=(1, 1)
    )
    numbers = numerics.quantize_multiplier(np.full(channels, 2.0**-23.5))
    return call_of(
        QDEPTHWISE_CONV2D,
        attrs,
        TensorSpec((1, kernel + 3, kernel + 2, 3), "int8"),
        np.full((kernel, kernel, channels), 127, np.int8),
        np.full(channels, bias, np.int32),
        *numbers,
    )


@pytest.mark.parametrize("channels", [3, 6])
def test_type_and_macs(channels: int) -> None:
    call = simple(channels)
    assert inferred(call) == TensorSpec((1, 3, 5, channels), "int8")
    arguments = [TensorSpec((1, 6, 5, 3), "int8"), np.ones((3, 3, channels), np.int8)]
    macs = OPERATORS["tiny.qdepthwise_conv2d"].macs(attributes_of(call), *arguments)
    assert macs == 3 * 5 * channels * 9


def test_a_sum_that_could_overflow_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="32-bit accumulator could overflow"):
        lower(simple(3, bias=(1 << 31) - 1000, kernel=18))


def test_no_bias_is_a_bias_of_zero() -> None:
    """TFLite Micro itself crashes on a depthwise convolution without bias."""
    model = one.depthwise_conv2d((1, 5, 5, 8))
    source, weight, bias, output = model.tensors
    assert bias.data is not None
    zero = replace(bias, data=np.zeros_like(bias.data))
    operator = replace(model.operators[0], inputs=(0, 1, MISSING), outputs=(2,))
    without = Model((source, weight, output), (operator,), (0,), (2,))
    with_zero = replace(model, tensors=(source, weight, zero, output))
    x = np.random.default_rng(0).integers(-128, 128, source.shape, np.int8)
    results = [evaluate(rewrite(from_tflite(write(m))), x)[0] for m in (without, with_zero)]
    np.testing.assert_array_equal(results[0], results[1])
