"""Generated assembly where loops, offsets and remainders are at their ends, on an emulated core.

Random operators (test_random_operators_on_cores.py) are small; these are wide, deep or both.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import samples_of
from tests.support.calls import call_of, lower, side_by_side
from tests.support.quick import quick_some
from tvm_tiny import build
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import TensorSpec, run_meaning
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

# height, width, channels of the input, window, stride, padding at each side; of some also the
# dilation and outputs of each channel
DEPTHWISE: dict[str, tuple[Any, ...]] = {
    "rows of many pairs": (3, 31, 2, (3, 3), 1, 1),
    "rows of one pair": (5, 2, 3, (3, 3), 1, 1),
    "a column": (9, 1, 5, (3, 3), 1, 1),
    "few pairs in reach of an offset": (2, 7, 600, (3, 3), 1, 1),
    "two outputs in reach of an offset": (2, 5, 1100, (3, 3), 1, 1),
    "polynomials in many tiles": (6, 37, 2, (5, 5), 1, 2),
    "polynomials in two tiles": (7, 14, 3, (7, 7), 1, 3),
    "polynomials, odd and even ends": (7, 9, 3, (7, 7), 1, 3),
    "polynomials in reach of an offset": (5, 6, 1100, (5, 5), 1, 2),
    "a column of taps": (9, 6, 4, (5, 1), 1, 0),
    "a row of taps": (2, 19, 4, (1, 8), 1, 0),
    "stride two in many tiles": (5, 63, 2, (3, 3), 2, 1),
    "stride two, wide windows": (9, 21, 3, (7, 7), 2, 3),
    "stride two in reach of an offset": (5, 9, 900, (3, 3), 2, 1),
    "rows too long for small windows": (4, 261, 1, (3, 3), 1, 1),
    "stride three in many tiles": (5, 64, 2, (3, 3), 3, 1),
    "stride three, wide windows": (9, 40, 3, (7, 7), 3, 3),
    "stride four": (9, 41, 2, (5, 5), 4, 2),
    "a short row of taps": (3, 21, 4, (1, 4), 1, 1),
    "a long row of taps": (2, 70, 3, (1, 29), 1, 14),
    "a long row of taps at stride two": (2, 70, 3, (1, 11), 2, 5),
    "a long column of taps": (70, 1, 5, (19, 1), 1, 9),
    "a column of taps at stride two": (40, 3, 4, (7, 1), 2, 3),
    "a column of taps out of reach": (9, 20, 70, (5, 1), 1, 0),
    "a wide window": (12, 30, 2, (9, 9), 1, 4),
    "dilated": (5, 61, 2, (3, 3), 1, 2, 2, 1),
    "dilated beyond the image": (6, 4, 3, (3, 3), 1, 5, 5, 1),
    "dilated polynomials": (9, 37, 2, (5, 5), 1, 4, 2, 1),
    "dilated and strided": (11, 33, 3, (3, 3), 2, 3, 3, 1),
    "dilated as much as strided": (9, 33, 3, (3, 3), 2, 2, 2, 1),
    "dilated, at a larger stride": (9, 33, 3, (3, 3), 6, 2, 2, 1),
    "a dilated column of taps": (60, 2, 5, (9, 1), 1, 8, 2, 1),
    "outputs that share a channel": (6, 11, 3, (3, 3), 1, 1, 1, 4),
    "outputs that share a dilated channel": (7, 9, 3, (5, 5), 1, 2, 2, 3),
}
# height, width, channels, window, stride, padding, output channels, groups
CONVOLUTIONS = {
    "long runs": (4, 9, 70, (3, 3), 1, 1, 6, 1),
    "long runs with a rest": (3, 6, 37, (2, 2), 1, 0, 5, 1),
    "one run after another": (5, 6, 37, (1, 1), 2, 0, 5, 1),
    "deep": (1, 7, 1030, (1, 1), 1, 0, 3, 1),
    "deep, one pixel": (1, 1, 1030, (1, 1), 1, 0, 19, 1),
    "one pair": (3, 3, 1, (1, 1), 1, 0, 4, 1),
    "one pair, one pixel": (1, 1, 2, (1, 1), 1, 0, 9, 1),
    "one channel from a window": (6, 6, 3, (5, 5), 2, 2, 1, 1),
    "groups": (5, 7, 24, (3, 3), 1, 1, 9, 3),
    "groups without a border": (5, 7, 15, (2, 3), 1, 0, 10, 5),
    "many channels": (1, 4, 4, (1, 1), 1, 0, 1300, 1),
    "largest sums": (3, 7, 256, (1, 1), 1, 0, 4, 1),
    "largest sums, one pixel": (1, 1, 256, (1, 1), 1, 0, 11, 1),
}
# polynomials' windows begin with every word, or twice as often
NEED_DSP = (
    "stride three in many tiles",
    "stride three, wide windows",
    "stride four",
    "dilated, at a larger stride",
)
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m3")


def constants(generator: Any, shape: tuple[int, ...], channels: int, taps: int) -> list[Any]:
    """Return weights, biases, multipliers and shifts of three kinds, in turn."""
    weight = generator.integers(-128, 128, shape, np.int8)
    bias = generator.integers(-5000, 5000, channels, np.int32)
    real = 0.006 / np.sqrt(taps) * 2.0 ** (np.arange(channels) % 3 - 1)
    return [weight, bias, *numerics.quantize_multiplier(real)]


def requantisation(generator: Any) -> dict[str, Any]:
    """Return zero points, with a fused ReLU or without."""
    zero_point = int(generator.integers(-128, 0))
    return {
        "input_zero_point": int(generator.integers(-128, 128)),
        "output_zero_point": zero_point,
        "clamp_min": int(generator.choice([-128, zero_point])),
        "clamp_max": 127,
    }


def depthwise(name: str, seed: int) -> Any:
    height, width, depth, kernel, stride, border, *rest = DEPTHWISE[name]
    dilation, per_input = rest or (1, 1)
    generator = np.random.default_rng(seed)
    attrs = QDepthwiseConv2DAttributes(
        **requantisation(generator),
        strides=(stride, stride),
        padding=(border,) * 4,
        dilation=(dilation, dilation),
    )
    channels = depth * per_input
    numbers = constants(generator, (*kernel, channels), channels, kernel[0] * kernel[1])
    if seed % 2:  # polynomials hold fewer of the largest weights
        numbers[0] = numbers[0] // 2
    return call_of(
        QDEPTHWISE_CONV2D, attrs, TensorSpec((1, height, width, depth), "int8"), *numbers
    )


def convolution(name: str, seed: int) -> Any:
    height, width, depth, kernel, stride, border, channels, groups = CONVOLUTIONS[name]
    generator = np.random.default_rng(seed)
    attrs = QConv2DAttributes(
        **requantisation(generator),
        strides=(stride, stride),
        padding=(border,) * 4,
        dilation=(1, 1),
        groups=groups,
    )
    shape = (channels, *kernel, depth // groups)
    numbers = constants(generator, shape, channels, int(np.prod(shape[1:])))
    # -128 beside 127 in one lane does not pack
    numbers[0] = np.maximum(numbers[0], -127)
    if np.prod(shape[1:]) > 500:  # fields of long multiplies hold fewer of the largest weights
        numbers[0] = numbers[0] // 3
    if name.startswith("largest"):
        signs = np.where(np.arange(channels) % 3 == 1, -127, 127)
        numbers[0] = np.broadcast_to(signs[:, None, None, None], shape).astype(np.int8)
        numbers[2:] = numerics.quantize_multiplier(np.full(channels, 2.0**-15))
    return call_of(QCONV2D, attrs, TensorSpec((1, height, width, depth), "int8"), *numbers)


@cache
def cases(seed: int) -> dict[str, Any]:
    made = {name: depthwise(name, seed) for name in DEPTHWISE}
    return made | {name: convolution(name, seed) for name in CONVOLUTIONS}


@pytest.mark.parametrize("feature", ["dsp", "long"])
@quick_some("name", [*DEPTHWISE, *CONVOLUTIONS], 4)
def test_a_function_is_made_for_it(name: str, feature: str) -> None:
    is_made = bool(lower(cases(0)[name], (feature,)).microkernels)
    assert is_made == (feature == "dsp" or name not in NEED_DSP)


@pytest.mark.qemu
@pytest.mark.parametrize(("seed", "core"), list(enumerate(CORES)))
def test_firmware_equals_meaning(core: str, seed: int) -> None:
    calls = cases(seed)
    module, specs = side_by_side(list(calls.values()))
    samples = [samples_of(row, seed) for row in specs]
    stacked = [np.concatenate(port) for row in samples for port in zip(*row, strict=True)]
    outputs = build(module, core, name="ends").run(stacked).outputs
    for (name, call), row, output in zip(calls.items(), samples, outputs, strict=True):
        expected = np.stack([run_meaning(call, sample) for sample in row])
        np.testing.assert_array_equal(output.reshape(expected.shape), expected, err_msg=name)
