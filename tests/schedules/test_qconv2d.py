from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.random_calls import coarse_call, wide_conv_call
from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.calls import lower
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import OPERATORS, TensorSpec, attributes_of
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes

WINDOWS = {
    f"{padding} stride {stride} dilation {dilation}": one.Window(
        (3, 2), (stride, stride), padding, (dilation, dilation)
    )
    for padding, stride, dilation in itertools.product(("SAME", "VALID"), (1, 2, 3), (1, 2))
    if stride == 1 or dilation == 1
}
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
PER_TENSOR = one.Weights(per_channel=False, lowest=-128)
POINTWISE = one.Window((1, 1))


def conv_call(seed: int) -> Any:
    """Return a convolution with every property drawn at random."""
    generator = np.random.default_rng(seed)
    groups = int(generator.choice([1, 1, 2, 3]))
    depth, per_group = (int(n) for n in generator.integers(1, 7, 2))
    kernel = tuple(int(n) for n in generator.integers(1, 5, 2))
    attrs = QConv2DAttributes(
        input_zero_point=int(generator.integers(-128, 128)),
        output_zero_point=int(generator.integers(-128, 128)),
        clamp_min=-128 if seed % 2 else -30,
        clamp_max=127 if seed % 3 else 40,
        strides=_pair(generator.integers(1, 4, 2)),
        padding=tuple(int(n) for n in generator.integers(0, min(kernel), 4)),  # type: ignore[arg-type]
        dilation=_pair(generator.integers(1, 3, 2)),
        groups=groups,
    )
    size = [int(generator.integers(k * 2, k * 2 + 7)) for k in kernel]
    data = TensorSpec((int(generator.integers(1, 3)), *size, depth * groups), "int8")
    return call_of(QCONV2D, attrs, data, *constants(generator, per_group * groups, *kernel, depth))


def constants(
    generator: np.random.Generator, channels: int, *shape: int, real: float | None = None
) -> list[Any]:
    """Return weights, bias, multiplier and shift; one shift for all channels, or many."""
    weight = generator.integers(-128, 128, (channels, *shape), np.int8)
    typical = 1 / (74 * 74 * np.sqrt(np.prod(shape))) * 40
    spread = generator.choice([0.0, 3.0])
    reals = (real or typical) * 2.0 ** generator.uniform(-spread, spread, channels)
    multiplier, shift = numerics.quantize_multiplier(reals)
    bias = generator.integers(-5000, 5000, channels, np.int32)
    return [weight, bias, multiplier, shift]


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def scaled_call(real: float, *, channels: int = 5, pointwise: bool = True) -> Any:
    """Return a convolution whose results are scaled by about `real`."""
    kernel = 1 if pointwise else 2
    padding = (0,) * 4
    attrs = QConv2DAttributes(-3, 5, -128, 127, strides=(1, 1), padding=padding, dilation=(1, 1))
    generator = np.random.default_rng(7)
    numbers = constants(generator, channels, kernel, kernel, 3, real=real)
    return call_of(QCONV2D, attrs, TensorSpec((1, 3, 3, 3), "int8"), *numbers)


def power_of_two_call(weight: int) -> Any:
    """Return a convolution whose channels' shifts differ by seven bits, behind a ReLU."""
    attrs = QConv2DAttributes(
        -128, -128, -128, 127, strides=(1, 1), padding=(0,) * 4, dilation=(1, 1)
    )
    numbers = numerics.quantize_multiplier(np.array([0.7, 0.7 / 128]))
    weights = np.full((2, 1, 1, 4), weight, np.int8)
    weights[:, :, :, 1:] //= -3  # not all of them: sums stay small
    bias = np.array([-1000, -1000], np.int32)
    return call_of(QCONV2D, attrs, TensorSpec((1, 3, 3, 4), "int8"), weights, bias, *numbers)


def column_with_border() -> Any:
    """Return a convolution whose output is wider than its input and its windows: a column each."""
    padding, strides = (2, 1, 0, 1), (1, 1)
    attrs = QConv2DAttributes(3, -5, -128, 127, strides=strides, padding=padding, dilation=(1, 1))
    weight = np.random.default_rng(0).integers(-128, 128, (9, 3, 1, 8), np.int8)
    numbers = numerics.quantize_multiplier(np.full(9, 0.002))
    data = TensorSpec((2, 7, 1, 8), "int8")
    return call_of(QCONV2D, attrs, data, weight, np.arange(9, dtype=np.int32), *numbers)


SUITE = Suite(
    models={
        **{name: partial(one.conv2d, (2, 9, 8, 3), 5, window) for name, window in WINDOWS.items()},
        **{
            name: partial(one.conv2d, (1, 5, 4, 3), 6, activation=name, seed=3)
            for name in ACTIVATIONS
        },
        **{
            f"pointwise {size}": partial(one.conv2d, (1, *size), filters, POINTWISE)
            for *size, filters in ((5, 4, 7, 9), (3, 3, 8, 4), (1, 1, 16, 1), (7, 2, 32, 8))
        },
        "pointwise in batches": lambda: one.conv2d((3, 3, 3, 5), 7, POINTWISE),
        "pointwise with strides": lambda: one.conv2d((1, 5, 5, 4), 4, one.Window((1, 1), (2, 2))),
        "no bias": lambda: one.conv2d((1, 5, 5, 3), 4, weights=one.Weights(bias=False)),
        "per tensor": lambda: one.conv2d((1, 5, 5, 3), 4, weights=PER_TENSOR),
        "zero point at the low end": lambda: one.conv2d(
            one.int8_tensor((1, 6, 5, 3), zero_point=-128), 4
        ),
        "zero point at the high end": lambda: one.conv2d(
            one.int8_tensor((1, 6, 5, 3), zero_point=127), 4
        ),
        "a column": lambda: one.conv2d((2, 11, 1, 8), 5, one.Window((3, 1))),
        "a column at stride two": lambda: one.conv2d((1, 19, 1, 3), 7, one.Window((5, 1), (2, 1))),
        "a column of pixels": lambda: one.conv2d((1, 9, 1, 6), 4, POINTWISE),
        "a first layer": lambda: one.conv2d((1, 25, 24, 3), 8, one.Window((3, 3), (2, 2))),
        "a first layer of odd width": lambda: one.conv2d((1, 9, 50, 3), 4, one.Window((3, 3))),
        "a first layer of sound": lambda: one.conv2d(
            (1, 21, 10, 1), 9, one.Window((10, 4), (2, 2))
        ),
        "whole chunks": lambda: one.conv2d((2, 5, 8, 32), 6, one.Window((3, 3))),
        "whole chunks, odd width": lambda: one.conv2d((1, 5, 7, 16), 8, one.Window((3, 3), (2, 2))),
        "one channel": lambda: one.conv2d((1, 8, 8, 1), 8, one.Window((5, 5), (2, 2))),
        "wide and low": lambda: one.conv2d((1, 1, 17, 4), 6, one.Window((1, 5))),
        "kernel as large as the image": lambda: one.conv2d(
            (1, 4, 3, 8), 8, one.Window((4, 3), padding="VALID")
        ),
        "many channels": lambda: one.conv2d((1, 4, 4, 40), 24, one.Window((3, 3))),
    },
    calls={
        **{f"random {seed}": partial(conv_call, seed) for seed in range(40)},
        **{f"wide {seed}": partial(wide_conv_call, seed) for seed in range(12)},
        **{f"coarse {seed}": partial(coarse_call, seed) for seed in (0, 1, 4, 5, 7, 8)},
        **{
            f"weights scaled to {weight} << 9": partial(power_of_two_call, weight)
            for weight in (64, -64, 63)
        },
        "scale above one": partial(scaled_call, 1.7),
        "scale above one, padded": partial(scaled_call, 30.0, pointwise=False),
        "scale near one": partial(scaled_call, 0.999),
        "vanishing scale": partial(scaled_call, 2.0**-40),
        "a column with a border": column_with_border,
        "one channel of eight": partial(scaled_call, 0.01, channels=1),
    },
)
# each has a kernel that few cases have
QUICK_TOO = ("RELU_N1_TO_1", "coarse 0", "pointwise [1, 1, 16]")


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 16, QUICK_TOO)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def simple(
    weight: Any, bias: Any, shape: tuple[int, ...] = (1, 5, 5, 3), real: float = 0.001
) -> Any:
    """Return a convolution of given weights (O, H, W, I), stride 2, padded at the end."""
    attrs = QConv2DAttributes(
        -128, -128, -128, 127, strides=(2, 2), padding=(0, 0, 1, 1), dilation=(1, 1)
    )
    numbers = numerics.quantize_multiplier(np.full(len(weight), real))
    return call_of(QCONV2D, attrs, TensorSpec(shape, "int8"), weight, bias, *numbers)


def test_kernels_see_columns_as_rows() -> None:
    weight = np.ones((2, 3, 1, 4), np.int8)

    def seen(shape: tuple[int, ...], padding: tuple[int, int, int, int]) -> Any:
        attrs = QConv2DAttributes(0, 0, -128, 127, strides=(2, 1), padding=padding, dilation=(1, 1))
        return QCONV2D.turned(attrs, TensorSpec(shape, "int8"), weight)

    attrs, (data, row) = seen((5, 9, 1, 4), (2, 0, 1, 0))
    assert (data.shape, row.shape) == ((5, 1, 9, 4), (2, 1, 3, 4))
    assert (attrs.padding, attrs.strides) == ((0, 2, 0, 1), (1, 2))
    for shape, border in (((5, 9, 2, 4), 0), ((5, 1, 1, 4), 0), ((5, 9, 1, 4), 1)):
        _, (data, same) = seen(shape, (0, 0, 0, border))
        assert data.shape == shape
        assert same is weight


def test_type_and_macs() -> None:
    call = simple(np.ones((6, 3, 2, 3), np.int8), np.zeros(6, np.int32))
    assert inferred(call) == TensorSpec((1, 2, 3, 6), "int8")
    arguments = [TensorSpec((1, 5, 5, 3), "int8"), np.ones((6, 3, 2, 3), np.int8)]
    assert OPERATORS["tiny.qconv2d"].macs(attributes_of(call), *arguments) == 2 * 3 * 6 * 3 * 2 * 3


def test_a_sum_that_could_overflow_is_an_error() -> None:
    # no saturation hides it: the bias scales to about 181 levels, the sum moves it by one and more
    bias = np.array([0, (1 << 31) - 1000], np.int32)
    weight = np.full((2, 3, 3, 40), 127, np.int8)
    with pytest.raises(UnsupportedError, match="32-bit accumulator could overflow") as caught:
        lower(simple(weight, bias, (1, 5, 5, 40), real=2.0**-23.5))
    assert caught.value.where == "channel 1"


def test_a_dead_channel_with_a_huge_bias_is_no_error() -> None:
    weight = np.zeros((2, 3, 3, 3), np.int8)
    weight[0] = 1
    call = simple(weight, np.array([5, -(1 << 31) + 1], np.int32))
    bias = dict(lower(call).constants)["bias"]
    assert abs(int(bias[1])) < 1 << 30
