"""Winograd's transforms are exact, and chosen only where the real weights prove it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, samples_of
from tests.support.calls import lower, side_by_side
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tests.support.variants import link
from tvm_tiny.schedules import numerics, scaling, winograd_conv
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.schedules.dialect import TensorSpec, arguments_of, attributes_of, run_meaning
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.winograd_gather import channel_order
from tvm_tiny.schedules.winograd_inputs import ORDER
from tvm_tiny.schedules.winograd_strips import SQUARE, lines, row_of
from tvm_tiny.targets.target import resolve

INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])  # B^T
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])  # A^T
WEIGHT_ENDS = (-128, 127)
SEEDS = range(36)
VARIANTS = ("winograd", "winograd_lines")
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
    taps = 3 if seed % 4 else int(generator.choice([1, 2, 5]))
    depth = int(generator.choice([3, 4, 5, 6, 7, 16, 20, 35, 64, 66, 68, 73]))
    channels = int(generator.integers(2, 25))
    shape = (channels, taps, 3, depth)
    low, high = (-30, 31) if seed % 3 == 2 else (-128, 128)
    weight = generator.integers(low, high, shape, np.int8)
    if seed % 5 == 3:
        weight = generator.choice(np.array(WEIGHT_ENDS, np.int8), shape)
    padding = tuple(int(n) for n in generator.integers(0, 3, 4))
    batch, height, width = (int(n) for n in generator.integers((1, max(taps, 4), 4), (3, 13, 24)))
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


def random_weights(shape: tuple[int, ...]) -> Any:
    """Return weights of all values."""
    return np.random.default_rng(0).integers(-128, 128, shape, np.int8)


SUITE = Suite(
    models={},
    calls={
        **{f"random {seed}": partial(random_call, seed) for seed in SEEDS},
        "lowest weights": lambda: call(full(-128)),
        "highest weights": lambda: call(full(127)),
        "no weights": lambda: call(full(0)),
        "more pairs than are unrolled": lambda: call(full(3, depth=68)),
        "largest weights that are lifted": lambda: call(full(127), fraction_bits=FRACTION_BITS),
        "least weights that are lifted": lambda: call(full(-128), fraction_bits=FRACTION_BITS),
        "a column": lambda: call(random_weights((9, 3, 1, 8)), (2, 11, 1), padding=(2, 0, 1, 0)),
        "many channels": lambda: call(random_weights((601, 3, 3, 3)), (1, 2, 9)),
        **{
            f"{width} columns": partial(call, random_weights((3, 3, 3, 9)), (1, 3, width))
            for width in (2, 3, 5, 7, 8, 9, 10, 13, 14)
        },
    },
)


@cache
def winograds(name: str) -> dict[str, Any]:
    """Return the candidates of a case that are Winograd's, by variant."""
    found = candidates(SUITE.calls[name](), ("dsp",))
    return {c.variant: c for c in found if c.variant in VARIANTS and c.kernel is not None}


@quick_some("name", SUITE.names, 26)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


def test_cases_are_done_by_winograd() -> None:
    found = {name: set(winograds(name)) for name in SUITE.names}
    for name, call in SUITE.calls.items():
        is_square = arguments_of(call())[1].shape[1:3] == (3, 3)
        expected = set(VARIANTS) if is_square else {"winograd_lines"}
        # that scale is too large for 16-bit weights of any kernel
        assert found[name] == (set() if name == "no weights" else expected), name


@pytest.mark.qemu
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m33"])
def test_firmware_equals_meaning(core: str, variant: str) -> None:
    names = [name for name in SUITE.names if variant in winograds(name)]
    for first in range(0, len(names), 12):
        some = names[first : first + 12]
        calls = [SUITE.calls[name]() for name in some]
        _, specs = side_by_side(calls)
        samples = [samples_of(row, seed) for seed, row in enumerate(specs)]
        stacked = [np.concatenate(port) for row in samples for port in zip(*row, strict=True)]
        jobs = [(one, winograds(name)[variant]) for one, name in zip(calls, some, strict=True)]
        outputs = link(jobs, resolve(core)).run(stacked).outputs
        for name, one, row, output in zip(some, calls, samples, outputs, strict=True):
            expected = np.stack([run_meaning(one, sample) for sample in row])
            np.testing.assert_array_equal(output.reshape(expected.shape), expected, err_msg=name)


def direct(tile: Any, weight: Any) -> Any:
    """Return all outputs of a tile."""
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
    return np.einsum("yxij,ij->yx", windows, weight)


def test_transforms_compute_four_times_the_convolution() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        tile = generator.integers(-128, 128, (4, 4))
        weight = generator.integers(-128, 128, (3, 3))
        kernel = winograd_conv.transformed(SQUARE, weight[None, :, :, None])[0, :, :, 0, 0].T
        outputs = OUTPUT @ (kernel * (INPUT @ tile @ INPUT.T)) @ OUTPUT.T
        np.testing.assert_array_equal(outputs, 4 * direct(tile, weight))


def test_lines_compute_twice_the_convolution() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        tile = generator.integers(-128, 128, (3, 4))
        weight = generator.integers(-128, 128, (3, 3))
        kernel = winograd_conv.transformed(lines(3), weight[None, :, :, None])[0, 0, :, :, 0].T
        outputs = (kernel * (tile @ INPUT.T)).sum(axis=0) @ OUTPUT.T
        np.testing.assert_array_equal(outputs, 2 * direct(tile, weight)[0])


def largest(first: Any, low: int, high: int) -> int:
    """Return the largest magnitude of first . v . first^T for any v in [low, high]."""
    factors = np.einsum("iy,jx->ijyx", first, first).reshape(len(first) ** 2, -1)
    positive, negative = np.maximum(factors, 0).sum(axis=1), np.minimum(factors, 0).sum(axis=1)
    top, bottom = positive * high + negative * low, positive * low + negative * high
    return int(max(np.abs(top).max(), np.abs(bottom).max()))


def test_ranges_of_transforms() -> None:
    assert largest(INPUT, *WEIGHT_ENDS) == 512  # inputs have the range of weights
    # four bits of scaling are left in a 16-bit lane, whatever the weights; six along one axis
    assert largest(winograd_conv.DOUBLED_G, *WEIGHT_ENDS) == 9 * 128 < 1 << (15 - 4)
    assert np.abs(winograd_conv.DOUBLED_G).sum(axis=1).max() * 128 == 3 * 128 < 1 << (15 - 6)


def layer_and_form(transform: Any, weight: Any, **fields: Any) -> Any:
    """Return what a kernel is chosen from, and its scaling."""
    made = call(weight, **fields)
    constants = [value for value in arguments_of(made) if isinstance(value, np.ndarray)]
    layer = winograd_conv.layer_of(transform, attributes_of(made), *constants)
    return layer, scaling.choose(layer)


@pytest.mark.parametrize(
    ("transform", "value", "more", "lift"),
    [
        *((SQUARE, 56, 7, 0), (SQUARE, 56, 8, 6), (SQUARE, -56, -8, 0), (SQUARE, -56, -9, 6)),
        *((lines(3), 85, 0, 0), (lines(3), 85, 1, 7), (lines(3), -85, -1, 0)),
        *((lines(3), -85, -2, 7), (SQUARE, 127, 0, 6), (lines(3), -128, 0, 7)),
    ],
)
def test_sums_are_lifted_where_weights_do_not_fit_their_lanes(
    transform: Any, value: int, more: int, lift: int
) -> None:
    """Seven bits of fraction and the doubling leave 9 bits for nine weights, 8 for three."""
    weight = full(value)
    weight[0, 1, 1, 0] += more
    layer, form = layer_and_form(transform, weight, fraction_bits=FRACTION_BITS)
    assert winograd_conv.lift(layer, form) == lift
    assert layer.fits(form.scale - lift).all()


def test_sums_are_halved_where_they_are_too_large() -> None:
    for transform, lift in ((SQUARE, -1), (lines(3), 0)):
        assert winograd_conv.lift(*layer_and_form(transform, full(127))) == lift


def test_sums_that_could_wrap_are_refused() -> None:
    """Sums that are halved in the end need a bit more than others: 2^29 is theirs, 2^30 lines'."""
    for transform, limit in ((SQUARE, 1 << 29), (lines(3), 1 << 30)):
        layer, _ = layer_and_form(transform, full(1))
        for reach, is_proved in ((limit - 1, True), (limit, False)):
            exact = replace(layer, reach=np.full_like(layer.reach, reach))
            form = scaling.choose(exact)
            assert (form is not None and winograd_conv.is_proved(exact, form)) == is_proved
    for exponent, is_chosen in ((28, True), (29, False)):
        one = lower(call(full(1), bias=1 << exponent), ("dsp",))
        assert (one.microkernels[0].name.startswith("winograd_gather_4x")) == is_chosen


@pytest.mark.parametrize(
    ("shape", "size"),
    [((16, 3, 3, 2), (1, 8, 8)), ((1, 3, 3, 16), (1, 8, 8)), ((16, 3, 3, 16), (1, 1, 9))],
    ids=["channels in", "channels out", "one row"],
)
def test_sizes_that_it_is_not_made_for(shape: tuple[int, ...], size: tuple[int, int, int]) -> None:
    one = lower(call(np.ones(shape, np.int8), size), ("dsp",))
    is_line = one.name == "conv2d_winograd"
    assert is_line == (size[1] == 1)


def test_streams_hold_scaled_lanes_and_the_bias_once() -> None:
    generator = np.random.default_rng(1)
    weight = generator.integers(-128, 128, (2, 3, 3, 4), np.int8)
    attrs = QConv2DAttributes(0, -128, -128, 127, strides=(1, 1), padding=(0,) * 4, dilation=(1, 1))
    multiplier, shift = numerics.quantize_multiplier(np.full(2, 0.001))
    bias = np.array([1000, -1000], np.int32)
    layer = winograd_conv.layer_of(SQUARE, attrs, weight, bias, multiplier, shift)
    form = scaling.choose(layer)
    assert form is not None
    stream = winograd_conv.pack_stream(SQUARE, layer, form)
    length = 2 * (1 + 4 * 2)  # of a column: two channels, two pairs
    columns = stream[: 4 * length].reshape(4, length)
    assert [tuple(column[:2]) for column in columns] == [
        (0, 0), tuple(bias.astype(np.int64) << form.scale), (0, 0), (0, 0)
    ]  # fmt: skip
    scaled = winograd_conv.transformed(SQUARE, weight)[:, :, :, 0]
    scaled <<= (form.scale - 2)[:, None, None, None]
    for column, (order, row) in itertools.product(range(4), enumerate(ORDER)):
        words = columns[column][2 + 4 * order : 2 + 4 * (order + 1)].reshape(2, 2)  # pairs, ch.
        low, high = (words << 16) >> 16, words >> 16
        np.testing.assert_array_equal(low.T, scaled[:, column, row, :2])
        np.testing.assert_array_equal(high.T, scaled[:, column, row, 2:])


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8, 67])
def test_words_hold_every_channel_once(channels: int) -> None:
    order = channel_order(channels)
    assert sorted(order[order >= 0]) == list(range(channels))
    assert order.shape == (-(-channels // 4), 4)


@pytest.mark.parametrize("largest", [1, 2, 4])
def test_strips_cover_rows(largest: int) -> None:
    for width in range(2, 40):
        row = row_of(width, largest)
        assert all(1 <= strip.tiles <= largest for strip in row.strips)
        begins = [row.strip.width * index for index in range(row.count)]
        begins.append(width - row.last.width)
        covered = {
            begin + strip.first(tile) + column
            for begin, strip in zip(begins, row.strips, strict=True)
            for tile in range(strip.tiles)
            for column in range(2)
        }
        assert covered == set(range(width))
