"""Gradients and updates of convolutions in firmware: the same bits as on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.calls import call_of, side_by_side
from tests.support.gradients import ALL, Convolution
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules.dialect import TensorSpec

CORES = ("cortex-m4", "cortex-m55")
RATE = TensorSpec((1,), "float32")
SEEDS = (0, 1, 2)
SMALLEST, LARGEST = np.float32(1e-44), np.float32(1e30)  # below normal numbers; sums stay finite


def _calls(convolution: Convolution) -> tuple[list[Any], list[list[str]]]:
    of_input, of_weight, update = convolution.operators
    inside, outside = convolution.input_attributes, convolution.weight_attributes
    data, weight, gradient = convolution.data, convolution.weight, convolution.gradient
    frozen = convolution.sample(0)["weight"]
    calls = [
        call_of(of_input, inside, gradient, weight),
        call_of(of_input, inside, gradient, frozen),
        call_of(of_weight, outside, data, gradient),
        call_of(update, outside, weight, data, gradient, RATE, convolution.scale),
    ]
    update_names = ["weight", "data", "gradient", "rate", "scale"]
    return calls, [["gradient", "weight"], ["gradient"], ["data", "gradient"], update_names]


def _samples(convolution: Convolution) -> list[dict[str, Any]]:
    samples = [convolution.sample(seed) for seed in SEEDS]
    gradient = samples[-1]["gradient"].reshape(-1)
    gradient[::5] *= SMALLEST
    gradient[1::7] *= LARGEST
    return samples


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_has_the_bits_of_the_host(core: str) -> None:
    calls: list[Any] = []
    inputs: list[Any] = []
    for convolution in ALL.values():
        made, names = _calls(convolution)
        samples = _samples(convolution)
        calls += made
        for row in names:
            inputs += [np.concatenate([s[name] for s in samples]) for name in row]
    module, _ = side_by_side(calls)
    firmware = build(module, core, name="gradients")
    expected = firmware.run(inputs, on="host").outputs
    actual = firmware.run(inputs).outputs
    for number, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        message = f"{list(ALL)[number // 4]}, call {number % 4}"
        assert np.isfinite(theirs).all()
        np.testing.assert_array_equal(ours.view(np.uint8), theirs.view(np.uint8), message)
