"""Optimisations of a step of training can be left out; the step stays the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.training import NET
from tvm_tiny import zoo
from tvm_tiny.pipeline import ALL_PASSES, TrainingPasses
from tvm_tiny.training.build import build_training, predict_memory
from tvm_tiny.training.firmware import TrainingFirmware

TARGET, UPDATE = "mps2-an500", "last:4"
NAMES = tuple(vars(ALL_PASSES))
NONE = TrainingPasses(**dict.fromkeys(NAMES, False))


def built(passes: TrainingPasses) -> TrainingFirmware:
    model = zoo.int8_module(NET, 0)
    return build_training(model, TARGET, update=UPDATE, name="small", passes=passes)


def stepped(firmware: TrainingFirmware) -> list[np.ndarray]:
    """The loss and the weights after two steps."""
    images = np.random.default_rng(1).integers(-128, 128, (2, 16, 16, 3), np.int8)
    losses = [firmware.train_step(image[np.newaxis], 2, 0.02) for image in images]
    return [np.array(losses), *firmware.weights.values()]


@pytest.fixture(scope="module")
def expected() -> list[np.ndarray]:
    return stepped(built(ALL_PASSES))


@pytest.mark.slow
@pytest.mark.parametrize("passes", [NONE, *(replace(ALL_PASSES, **{n: False}) for n in NAMES)])
def test_the_step_is_the_same(passes: TrainingPasses, expected: list[np.ndarray]) -> None:
    for value, other in zip(stepped(built(passes)), expected, strict=True):
        np.testing.assert_allclose(value.astype(np.float64), other, atol=1)
        # scales are multiplied in another order where they are fused
        assert np.mean(value != other) < 0.01 or value.dtype == np.float64


def test_all_of_them_save_memory() -> None:
    model = zoo.int8_module(NET, 0)
    found = [
        predict_memory(model, TARGET, update=UPDATE, passes=passes).arena_bytes
        for passes in (ALL_PASSES, NONE)
    ]
    assert found[0] < found[1]
