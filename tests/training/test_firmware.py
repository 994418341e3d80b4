"""Training firmware: its steps here and on the emulator, its weights, its errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli_support import DENSE_SHAPE, write_models
from tests.support.training import NET
from tvm_tiny import zoo
from tvm_tiny.errors import InputError, TargetError, TrainingError
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.training.build import build_training, predict_memory
from tvm_tiny.training.firmware import TrainingFirmware
from tvm_tiny.training.update_plan import SparseUpdate

pytestmark = pytest.mark.slow

RATE = 0.05
STEPS = 50


@pytest.fixture(scope="module")
def model() -> object:
    return zoo.int8_module(NET, 0)


@pytest.fixture(scope="module")
def firmware(model: object) -> TrainingFirmware:
    return build_training(model, "cortex-m4", update="last:4", name="small")


@pytest.fixture
def fresh(firmware: TrainingFirmware) -> TrainingFirmware:
    firmware.reset()
    return firmware


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of four bars, and which bar it is."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.normal(0, 20, (count, 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 80
    return np.clip(images, -128, 127).astype(np.int8), labels


def test_training_learns(fresh: TrainingFirmware) -> None:
    data, test = samples(300), samples(100, seed=1)
    before = fresh.accuracy(*test)
    seen: list[tuple[int, int, float]] = []
    history = fresh.fit(
        data,
        epochs=6,
        rate=lambda progress: RATE * (1 - progress),
        validation=test,
        on_progress=lambda *state: seen.append(state),
    )
    assert history.losses[-1] < 0.7 * history.losses[0]
    assert history.accuracies[-1] > max(before + 0.2, 0.8)
    assert seen[-1][:2] == (5, 299)


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_the_firmware_takes_the_same_steps(model: object, core: str) -> None:
    built = build_training(model, core, update="full", name="small")
    images, labels = samples(STEPS)
    rates = np.linspace(RATE, RATE / 4, STEPS).astype(np.float32)
    pairs = zip(images, labels, rates, strict=True)
    losses = [built.train_step(x[None], int(y), float(rate)) for x, y, rate in pairs]
    steps = built.run_steps(images, labels, rates)
    np.testing.assert_array_equal(steps.losses, np.array(losses, np.float32))
    assert steps.weights.keys() == built.weights.keys()
    for name, weights in steps.weights.items():
        np.testing.assert_array_equal(weights, built.weights[name], err_msg=name)
    changed = [np.any(s.initial != steps.weights[s.name]) for s in built.states.states]
    assert sum(changed) > len(changed) / 2


@pytest.mark.qemu
def test_momentum_takes_the_same_steps_on_the_target(model: object) -> None:
    optimizer = Optimizer("momentum", momentum=0.8)
    built = build_training(model, "cortex-m4", update="last:3", optimizer=optimizer, name="small")
    images, labels = samples(20)
    pairs = zip(images, labels, strict=True)
    losses = [built.train_step(x[None], int(y), RATE / 5) for x, y in pairs]
    steps = built.run_steps(images, labels, RATE / 5)
    np.testing.assert_array_equal(steps.losses, np.array(losses, np.float32))
    for name, weights in steps.weights.items():
        np.testing.assert_array_equal(weights, built.weights[name], err_msg=name)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    predicted = predict_memory(model, "cortex-m4", update="last:3", optimizer=optimizer)
    assert predicted.trainable_bytes == built.memory()["trainable_bytes"]


def test_an_image_brings_the_weights_back(fresh: TrainingFirmware) -> None:
    images, labels = samples(20)
    for x, y in zip(images, labels, strict=True):
        fresh.train_step(x[None], int(y), RATE)
    trained, image = fresh.predict(images), fresh.export_weights()
    fresh.reset()
    assert np.any(fresh.predict(images) != trained)
    fresh.import_weights(image)
    np.testing.assert_array_equal(fresh.predict(images), trained)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: image[:-1], "truncated"),
        (lambda image: image[:20], "truncated|no image"),
        (lambda image: image[:-1] + bytes([image[-1] ^ 1]), "damaged"),
        (lambda image: bytes([image[0] ^ 1]) + image[1:], "no image"),
    ],
)
def test_spoilt_images_are_refused(fresh: TrainingFirmware, spoil: object, message: str) -> None:
    image, before = fresh.export_weights(), fresh.weights
    with pytest.raises(TrainingError, match=message):
        fresh.import_weights(spoil(image))  # type: ignore[operator]
    for name, weights in fresh.weights.items():
        np.testing.assert_array_equal(weights, before[name])


@pytest.mark.parametrize(("label", "rate"), [(4, RATE), (-1, RATE), (0, np.nan), (0, np.inf)])
def test_steps_that_cannot_be_made_change_nothing(
    fresh: TrainingFirmware, label: int, rate: float
) -> None:
    before = fresh.weights
    with pytest.raises(TrainingError, match="not a finite number"):
        fresh.train_step(samples(1)[0], label, rate)
    for name, weights in fresh.weights.items():
        np.testing.assert_array_equal(weights, before[name])


def test_a_rate_of_zero_changes_nothing(fresh: TrainingFirmware) -> None:
    before = fresh.weights
    assert fresh.train_step(samples(1)[0], 1, 0.0) > 0
    for name, weights in fresh.weights.items():
        np.testing.assert_array_equal(weights, before[name])


def test_weights_can_be_put_in(fresh: TrainingFirmware) -> None:
    weights = {name: np.zeros_like(values) for name, values in fresh.weights.items()}
    fresh.set_weights(weights)
    assert len(set(fresh.predict(samples(5)[0]).reshape(5, -1)[0].tolist())) == 1
    name = next(iter(weights))
    with pytest.raises(InputError, match="another shape or dtype"):
        fresh.set_weights({**weights, name: np.zeros(3, np.int8)})


@pytest.mark.slow
@pytest.mark.parametrize("update", ["full", "last:2", "bias:3"])
def test_memory_is_predicted_to_the_byte(model: object, update: str) -> None:
    built = build_training(model, "cortex-m7", update=update, name="small")
    predicted = predict_memory(model, "cortex-m7", update=update)
    memory = built.memory()
    assert predicted.arena_bytes == memory["arena_bytes"]
    assert predicted.trainable_bytes == memory["trainable_bytes"]
    states = sum(state.initial.nbytes for state in built.states.states)
    assert states <= predicted.trainable_bytes < states + 4 * len(built.states.states)


def test_the_firmware_has_neither_graph_nor_heap(firmware: TrainingFirmware) -> None:
    functions = {function.name for function in firmware.firmware.image.functions}
    assert "small_train_step" in functions
    assert not functions & {"malloc", "calloc", "realloc", "free", "_sbrk"}
    text = "".join(firmware.firmware.sources.values())
    assert not re.search(r"\b(malloc|calloc|alloca)\s*\(", text)


def test_cores_without_floating_point_are_refused(model: object) -> None:
    with pytest.raises(TargetError, match="floating point unit"):
        build_training(model, "cortex-m3", update=SparseUpdate.last(1))


@pytest.mark.qemu
def test_a_model_of_one_layer_trains(tmp_path: Path) -> None:
    """Its inference is so short that the compiler puts it into the step."""
    built = build_training(write_models(tmp_path) / "dense.tflite", "cortex-m4", update="last:0")
    data = np.random.default_rng(5).integers(-128, 128, (3, *DENSE_SHAPE[1:]), np.int8)
    labels = np.array([0, 3, 1])
    steps = built.run_steps(data, labels, RATE)
    pairs = zip(data, labels, strict=True)
    losses = [built.train_step(x[None], int(y), RATE) for x, y in pairs]
    np.testing.assert_array_equal(steps.losses, np.array(losses, np.float32))
    assert steps.first.instructions
