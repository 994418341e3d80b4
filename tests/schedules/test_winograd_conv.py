"""Winograd's transforms are exact, and chosen only where the real weights prove it."""

from __future__ import annotations

import itertools
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, samples_of
from tests.support.calls import lower, side_by_side
from tests.support.kernels import Library
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules import numerics, scaling, winograd_conv
from tvm_tiny.schedules.dialect import TensorSpec, run_meaning
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.winograd_inputs import ROW_ORDER

INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])  # B^T
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])  # A^T
WEIGHT_ENDS = (-128, 127)
SEEDS = range(36)
FRACTION_BITS = 7


def call(
    weight: Any,
    size: tuple[int, int, int] = (1, 6, 7),
    *,
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    bias: int = 0,
    seed: int = 0,
    spread: float = 0.0,
    **fields: Any,
) -> Any:
    """Return a 3x3 convolution whose outputs are spread over int8."""
    generator = np.random.default_rng(seed)
    attrs = {"input_zero_point": -3, "output_zero_point": 5, "clamp_min": -128, "clamp_max": 127}
    geometry = {"strides": (1, 1), "padding": padding, "dilation": (1, 1)}
    fraction = 2.0 ** -fields.get("fraction_bits", 0)
    deviation = 74 * np.sqrt((weight.astype(np.int64) ** 2).sum(axis=(1, 2, 3)).mean() + 1)
    reals = fraction * 40 / deviation * 2.0 ** generator.uniform(-spread, spread, len(weight))
    numbers = numerics.quantize_multiplier(reals)
    biases = generator.integers(-5000, 5001, len(weight)).astype(np.int32) + np.int32(bias)
    data = TensorSpec((*size, weight.shape[3]), "int8")
    attributes = QConv2DAttributes(**{**attrs, **geometry, **fields})
    return call_of(QCONV2D, attributes, data, weight, biases, *numbers)


def random_call(seed: int) -> Any:
    """Return a convolution that Winograd is for: any padding, odd sizes, all forms of scaling."""
    generator = np.random.default_rng(seed)
    depth = 4 * int(generator.choice([4, 5, 8, 9, 16, 17]))
    channels = 2 * int(generator.integers(8, 13))
    shape = (channels, 3, 3, depth)
    low, high = (-30, 31) if seed % 3 == 2 else (-128, 128)
    weight = generator.integers(low, high, shape, np.int8)
    if seed % 4 == 3:
        weight = generator.choice(np.array(WEIGHT_ENDS, np.int8), shape)
    padding = tuple(int(n) for n in generator.integers(0, 3, 4))
    batch, height, width = (int(n) for n in generator.integers((1, 4, 4), (3, 13, 13)))
    zero_points = {
        "input_zero_point": int(generator.integers(-128, 128)),
        "output_zero_point": int(generator.integers(-128, 128)),
    }
    clamp_min = zero_points["output_zero_point"] if seed % 2 else int(generator.choice([-128, -9]))
    fraction_bits = FRACTION_BITS if seed % 3 == 2 else 0
    return call(
        weight,
        (batch, height, width),
        padding=padding,  # type: ignore[arg-type]
        seed=seed,
        spread=float(generator.choice([0.0, 1.0, 4.0])),
        **zero_points,
        clamp_min=clamp_min,
        fraction_bits=fraction_bits,
    )


def full(value: int, channels: int = 16, depth: int = 16) -> Any:
    """Return weights that are all alike."""
    return np.full((channels, 3, 3, depth), value, np.int8)


SUITE = Suite(
    models={},
    calls={
        **{f"random {seed}": partial(random_call, seed) for seed in SEEDS},
        "lowest weights": lambda: call(full(-128)),
        "highest weights": lambda: call(full(127)),
        "no weights": lambda: call(full(0)),
        "more pairs than are unrolled": lambda: call(full(3, depth=68)),
    },
)


@cache
def is_winograd(name: str) -> bool:
    return lower(SUITE.calls[name](), ("dsp",)).name == "conv2d_winograd"


@pytest.mark.parametrize("name", SUITE.names)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_most_cases_are_done_by_winograd() -> None:
    assert sum(map(is_winograd, SUITE.names)) > 0.7 * len(SUITE.names)


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33"])
def test_firmware_equals_meaning(core: str) -> None:
    names = [name for name in SUITE.names if is_winograd(name)]
    calls = [SUITE.calls[name]() for name in names]
    for first in range(0, len(calls), 6):
        some = calls[first : first + 6]
        module, specs = side_by_side(some)
        samples = [samples_of(row, seed) for seed, row in enumerate(specs)]
        stacked = [np.concatenate(port) for row in samples for port in zip(*row, strict=True)]
        outputs = build(module, core, name="many").run(stacked).outputs
        for name, one, row, output in zip(names[first:], some, samples, outputs, strict=False):
            expected = np.stack([run_meaning(one, sample) for sample in row])
            np.testing.assert_array_equal(output.reshape(expected.shape), expected, err_msg=name)


def direct(tile: Any, weight: Any) -> Any:
    """Return 2 x 2 outputs of a tile of 4 x 4."""
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
    return np.einsum("yxij,ij->yx", windows, weight)


def test_transforms_compute_four_times_the_convolution() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        tile = generator.integers(-128, 128, (4, 4))
        weight = generator.integers(-128, 128, (3, 3))
        kernel = winograd_conv.transformed(weight[None, :, :, None])[0, :, :, 0]
        outputs = OUTPUT @ (kernel * (INPUT @ tile @ INPUT.T)) @ OUTPUT.T
        np.testing.assert_array_equal(outputs, 4 * direct(tile, weight))


def largest(first: Any, low: int, high: int) -> int:
    """Return the largest magnitude of first . v . first^T for any v in [low, high]."""
    factors = np.einsum("iy,jx->ijyx", first, first).reshape(len(first) ** 2, -1)
    positive, negative = np.maximum(factors, 0).sum(axis=1), np.minimum(factors, 0).sum(axis=1)
    top, bottom = positive * high + negative * low, positive * low + negative * high
    return int(max(np.abs(top).max(), np.abs(bottom).max()))


def test_ranges_of_transforms() -> None:
    assert largest(INPUT, *WEIGHT_ENDS) == 512  # inputs have the range of weights
    # four bits of scaling are left in a 16-bit lane, whatever the weights
    assert largest(winograd_conv.DOUBLED_G, *WEIGHT_ENDS) == 9 * 128 < 1 << (15 - 4)


@pytest.mark.parametrize("value", [*WEIGHT_ENDS, 50])
def test_weights_that_do_not_fit_their_lanes_are_refused(value: int) -> None:
    """Seven bits of fraction and the doubling leave 2^15 >> 6 = 512 for a sum of nine weights."""
    has_room = abs(9 * value) < 512
    one = lower(call(full(value), fraction_bits=FRACTION_BITS), ("dsp",))
    assert (one.name == "conv2d_winograd") == has_room


def test_sums_that_could_wrap_are_refused() -> None:
    for exponent, is_chosen in ((28, True), (29, False)):
        one = lower(call(full(1), bias=1 << exponent), ("dsp",))
        assert (one.name == "conv2d_winograd") == is_chosen


@pytest.mark.parametrize(
    ("shape", "size"),
    [((16, 3, 3, 6), (1, 8, 8)), ((5, 3, 3, 16), (1, 8, 8)), ((16, 3, 3, 16), (1, 1, 9))],
    ids=["channels in", "channels out", "one row"],
)
def test_sizes_that_it_is_not_made_for(shape: tuple[int, ...], size: tuple[int, int, int]) -> None:
    one = lower(call(np.ones(shape, np.int8), size), ("dsp",))
    assert one.name == "conv2d"


def test_streams_hold_scaled_lanes_and_the_bias_once() -> None:
    generator = np.random.default_rng(1)
    weight = generator.integers(-128, 128, (2, 3, 3, 4), np.int8)
    attrs = QConv2DAttributes(0, -128, -128, 127, strides=(1, 1), padding=(0,) * 4, dilation=(1, 1))
    multiplier, shift = numerics.quantize_multiplier(np.full(2, 0.001))
    bias = np.array([1000, -1000], np.int32)
    layer = winograd_conv.layer_of(attrs, weight, bias, multiplier, shift)
    form = scaling.choose(layer)
    assert form is not None
    stream = winograd_conv.pack_stream(layer, form)
    length = 2 * (1 + 4 * 2)  # of a column: two channels, two pairs
    columns = stream[: 4 * length].reshape(4, length)
    assert [tuple(column[:2]) for column in columns] == [
        (0, 0), tuple(bias.astype(np.int64) << form.scale), (0, 0), (0, 0)
    ]  # fmt: skip
    scaled = winograd_conv.transformed(weight) << (form.scale - 2)[:, None, None, None]
    for column, (order, row) in itertools.product(range(4), enumerate(ROW_ORDER)):
        words = columns[column][2 + 4 * order : 2 + 4 * (order + 1)].reshape(2, 2)  # pairs, ch.
        low, high = (words << 16) >> 16, words >> 16
        np.testing.assert_array_equal(low.T, scaled[:, row, column, :2])
        np.testing.assert_array_equal(high.T, scaled[:, row, column, 2:])
