"""Forms of scaling: which one a layer gets, and that it is TensorFlow Lite's double rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tvm_tiny.schedules import numerics, requantization, scaling
from tvm_tiny.schedules.requantization import RequantizeAttributes
from tvm_tiny.schedules.scaling import Floored, Rounded

CHANNELS, TAPS = 6, 20


def layer(seed: int, *, clamp_min: int | None = None, fraction_bits: int = 0) -> scaling.Layer:
    """Return a layer of random weights whose scales lie within three powers of two."""
    generator = np.random.default_rng(seed)
    zero_point = int(generator.integers(-128, 100))
    low = zero_point if clamp_min is None else clamp_min
    attrs = RequantizeAttributes(3, zero_point, low, 127, fraction_bits=fraction_bits)
    weight = generator.integers(-127, 128, (CHANNELS, TAPS)).astype(np.int8)
    bias = generator.integers(-2000, 2000, CHANNELS) << fraction_bits
    real = 2.0 ** generator.uniform(-9 - fraction_bits, -6 - fraction_bits, CHANNELS)
    return scaling.layer_of(attrs, weight, bias, *numerics.quantize_multiplier(real))


def outputs(form: scaling.Scaling, acc: Any, channel: int) -> Any:
    """Return what the instructions of a form compute, before the layer's own clamp."""
    multiplier, offset = int(form.multiplier[channel]), int(form.offset[channel])
    if isinstance(form, Floored):
        scaled = acc << int(form.scale[channel])
        assert np.all(np.abs(scaled) < 1 << 31)
        total, shift = (scaled * multiplier >> 32) + offset, form.shift
    else:
        sign = np.where(acc < 0, -1, 0) if form.has_sign else 0
        total = ((2 * acc * multiplier + (1 << 31)) >> 32) + sign + offset
        shift = int(form.shifts[channel])
    assert np.all(np.abs(total) < 1 << 31)
    return np.clip(total >> shift, -128, 127)


def check(chosen: scaling.Layer, form: scaling.Scaling) -> None:
    """Compare all sums that a channel can reach, or a dense sample of them."""
    attrs = chosen.attrs
    for channel in range(len(chosen.bias)):
        reach = int(chosen.reach[channel])
        acc = np.arange(-reach, reach + 1, max(reach // 50_000, 1))
        shift = -chosen.shift[channel : channel + 1]
        multiplier = chosen.multiplier[channel : channel + 1]
        expected = requantization.apply(acc[:, None], multiplier, shift, attrs)[:, 0]
        actual = np.clip(outputs(form, acc, channel), attrs.clamp_min, attrs.clamp_max)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("seed", range(8))
def test_fused_relu_needs_no_sign(seed: int) -> None:
    chosen = layer(seed)
    form = scaling.choose(chosen)
    assert isinstance(form, Floored)
    check(chosen, form)


@pytest.mark.parametrize("seed", range(8))
def test_negative_results_keep_their_rounding(seed: int) -> None:
    chosen = layer(seed, clamp_min=-128)
    form = scaling.choose(chosen)
    assert isinstance(form, Rounded) and form.has_sign
    check(chosen, form)


@pytest.mark.parametrize("seed", range(8))
def test_sources_that_round_once(seed: int) -> None:
    chosen = layer(seed, clamp_min=-128, fraction_bits=7)
    form = scaling.choose(chosen)
    assert isinstance(form, Rounded) and not form.has_sign
    check(chosen, form)


def test_one_step_of_rounding_more_is_noticed() -> None:
    """Near miss: the form without a sign is not the reference where negatives matter."""
    chosen = layer(1, clamp_min=-128)
    signed = scaling.rounded(chosen)
    assert signed is not None
    unsigned = Rounded(signed.scale, signed.multiplier, signed.offset, signed.shifts, False)
    with pytest.raises(AssertionError):
        check(chosen, unsigned)


def test_a_channel_far_below_the_others_loses_bits_only_where_nothing_changes() -> None:
    chosen = layer(2)
    shift = chosen.shift.copy()
    shift[0] += 12
    spread = scaling.Layer(
        chosen.attrs, chosen.weight, chosen.bias, chosen.reach, chosen.multiplier, shift
    )
    form = scaling.choose(spread)
    assert isinstance(form, Floored)
    assert form.multiplier[0] < chosen.multiplier[0]
    check(spread, form)


@pytest.mark.parametrize("clamp_min", [None, -128])
def test_channels_that_are_zero_anyway_take_the_shift_of_others(clamp_min: int | None) -> None:
    some = layer(5, clamp_min=clamp_min)
    multiplier, shift = some.multiplier.copy(), some.shift.copy()
    multiplier[0], shift[0], shift[1] = 0, 0, 30
    chosen = scaling.layer_of(some.attrs, some.weight, some.bias, multiplier, -shift)
    form = scaling.choose(chosen)
    assert form is not None
    check(replace(chosen, multiplier=multiplier, shift=shift), form)


def test_a_channel_that_shifts_far_but_is_not_zero_keeps_its_numbers() -> None:
    """Near miss: the largest sum of this channel is one half."""
    some = layer(6, clamp_min=-128)
    multiplier, shift = some.multiplier.copy(), some.shift.copy()
    bias = some.bias.copy()
    multiplier[0], shift[0], bias[0] = 1 << 30, 23, 1 << 23
    chosen = scaling.layer_of(some.attrs, some.weight, bias, multiplier, -shift)
    assert chosen.multiplier[0] and scaling.choose(chosen) is None


def test_shifts_to_the_left_need_the_floored_form() -> None:
    chosen = layer(3)
    weight = chosen.weight // 32
    coarse = scaling.Layer(
        chosen.attrs,
        weight,
        chosen.bias,
        requantization.reach(weight, chosen.bias, chosen.attrs),
        chosen.multiplier,
        np.full(CHANNELS, -1),
    )
    form = scaling.choose(coarse)
    assert isinstance(form, Floored)
    check(coarse, form)
    assert scaling.rounded(layer(3, clamp_min=-128)) is not None


def test_sums_beyond_what_doubles_are_refused() -> None:
    chosen = layer(4)
    reach = np.full(CHANNELS, 1 << 30)
    too_large = scaling.Layer(
        chosen.attrs, chosen.weight, chosen.bias, reach, chosen.multiplier, chosen.shift
    )
    assert scaling.choose(too_large) is None


def test_steps_are_the_least_sums() -> None:
    found = scaling.steps(lambda acc: np.clip(acc // 10, -128, 127), 500)
    np.testing.assert_array_equal(found[78:178], np.arange(-49, 51) * 10)
    assert found[0] == -500 and found[-1] == 501
