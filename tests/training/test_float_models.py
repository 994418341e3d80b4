"""Float models train as torch trains them, and on the target as on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.evaluate_tiny import evaluate
from tests.support.gradients import close
from tests.support.quick import quick_first
from tvm_tiny import importers
from tvm_tiny.pipeline import rewrite_for_training
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate, SeparateTrainables
from tvm_tiny.training.build import build_training, predict_memory
from tvm_tiny.training.firmware import TrainingFirmware
from tvm_tiny.training.layers import trainable_layers
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate

torch = pytest.importorskip("torch")
nn: Any = torch.nn
Array = np.ndarray[Any, Any]
CLASSES = 4
# name -> the optimizer here, its rate, torch's
OPTIMIZERS: dict[str, tuple[Any, float, Any]] = {
    "sgd": ("sgd", 0.05, lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (
        Optimizer("momentum", momentum=0.8),
        0.02,
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.8),
    ),
    "adam": ("adam", 0.003, lambda p: torch.optim.Adam(p, 0.003)),
}


def small_net() -> Any:
    """Return a net of all sorts of layers and a residual; its last one has four outputs."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, 2, 1)
            self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
            self.pointwise = nn.Conv2d(6, 6, 1)
            self.grouped = nn.Conv2d(6, 8, 3, groups=2)
            self.hidden = nn.Linear(32, 9)
            self.last = nn.Linear(9, CLASSES)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.stem(x))
            x = x + self.pointwise(nn.functional.relu6(self.depthwise(x)))
            x = nn.functional.max_pool2d(x, 2)
            x = torch.relu(self.grouped(x)).flatten(1)
            return torch.softmax(self.last(torch.relu(self.hidden(x))), 1)

    torch.manual_seed(0)
    return Net().eval()


def branched_net() -> Any:
    """Return a net whose branches are padded, upsampled, gated, multiplied and concatenated."""

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, 2, 1)
            self.coarse = nn.Conv2d(6, 5, 3, 2, 1)
            self.gate = nn.Conv2d(6, 6, 1)
            self.mixed = nn.Conv2d(17, 8, 3, 2)
            self.last = nn.Linear(8, CLASSES)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.stem(x / 2))
            coarse = nn.functional.interpolate(self.coarse(x), scale_factor=2)
            gated = x * nn.functional.relu6(self.gate(x.mean((2, 3), keepdim=True)))
            x = torch.cat([coarse, gated * x, 0.5 * gated], 1)
            x = nn.functional.hardswish(self.mixed(nn.functional.pad(x, (0, 1, 0, 1), value=0.1)))
            return torch.softmax(self.last(x.mean((2, 3))), 1)

    torch.manual_seed(0)
    return Net().eval()


NETS = {"small": small_net, "branched": branched_net}
RUNS = [("small", name) for name in OPTIMIZERS] + [("branched", "sgd")]


def exported(net: Any) -> Any:
    return torch.export.export(net, (torch.zeros(1, 3, 16, 16),))


def samples(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return noisy images of four bars, and which bar it is."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    images = generator.normal(0, 0.3, (count, 3, 16, 16))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 1
    return images.astype(np.float32), labels


def torch_steps(net: Any, make: Any, images: Array, labels: Array) -> list[float]:
    """Train a net with torch, a sample at a time; the losses."""
    optimizer, losses = make(net.parameters()), []
    for x, y in zip(images, labels, strict=True):
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(torch.log(net(torch.tensor(x[None]))), torch.tensor([y]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def steps(built: TrainingFirmware, images: Array, labels: Array, rate: float) -> list[float]:
    pairs = zip(images, labels, strict=True)
    return [built.train_step(x[None], int(y), rate) for x, y in pairs]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_steps_are_those_of_torch(kind: str, name: str) -> None:
    optimizer, rate, make = OPTIMIZERS[name]
    net, (images, labels) = NETS[kind](), samples(5)
    built = build_training(exported(net), "cortex-m4", optimizer=optimizer, name="net")
    losses = steps(built, images, labels, rate)
    np.testing.assert_allclose(losses, torch_steps(net, make, images, labels), rtol=1e-4)
    test, before = samples(8, seed=1)[0], built.twin.state.copy()
    expected = net(torch.tensor(test)).detach().numpy()
    np.testing.assert_allclose(built.predict(test), expected, rtol=1e-4, atol=1e-6)
    # an inference is no step of the optimizer
    np.testing.assert_array_equal(built.twin.state, before)
    convolutions = [layer for layer in net.children() if isinstance(layer, nn.Conv2d)]
    for number, layer in enumerate(convolutions):
        weight = layer.weight.detach().numpy().transpose(0, 2, 3, 1)
        state = "_".join(["conv2d", *([str(number)] if number else []), "weight"])
        np.testing.assert_allclose(built.weights[state], weight, 1e-4, 1e-6)


@quick_first("number", range(4))
def test_gradients_of_one_layer_alone_are_torchs(number: int) -> None:
    net, (images, labels) = branched_net(), samples(1)
    layer = [net.stem, net.coarse, net.gate, net.mixed][number]
    layer_name = f"conv2d_{number}" if number else "conv2d"
    separate = SeparateTrainables([LayerUpdate(layer_name, tuple(range(layer.in_channels)), True)])
    module = rewrite_for_training(importers.load(exported(net)))
    derived = DeriveGradients()(separate(module))
    given = [images, labels.astype(np.int32), np.zeros(1, np.float32)]
    loss, _, *found = evaluate(derived, *given, *(state.initial for state in separate.states))
    expected = nn.functional.nll_loss(torch.log(net(torch.tensor(images))), torch.tensor(labels))
    expected.backward()
    assert loss[0] == pytest.approx(expected.item(), rel=1e-5)
    for gradient, parameter in zip(found, (layer.weight, layer.bias), strict=True):
        reference = parameter.grad.movedim(1, -1) if parameter.ndim == 4 else parameter.grad
        assert np.any(gradient)
        close(gradient, reference.numpy())


@pytest.mark.qemu
@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_the_firmware_takes_the_same_steps(kind: str, name: str) -> None:
    optimizer, rate, _ = OPTIMIZERS[name]
    built = build_training(exported(NETS[kind]()), "cortex-m4", optimizer=optimizer, name="net")
    images, labels = samples(20)
    losses = steps(built, images, labels, rate)
    found = built.run_steps(images, labels, rate)
    np.testing.assert_array_equal(found.losses, np.array(losses, np.float32))
    for state, weights in found.weights.items():
        np.testing.assert_array_equal(weights, built.weights[state], err_msg=state)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_learns(name: str) -> None:
    optimizer, rate, _ = OPTIMIZERS[name]
    built = build_training(exported(small_net()), "cortex-m7", optimizer=optimizer, name="net")
    history = built.fit(samples(200), epochs=3, rate=rate, validation=samples(50, seed=1))
    assert history.losses[-1] < 0.5 * history.losses[0]
    assert history.accuracies[-1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_part_of_the_channels_can_be_trained(optimizer: str) -> None:
    program = exported(small_net())
    layers = trainable_layers(rewrite_for_training(importers.load(program)))
    assert [layer.channels for layer in layers] == [3, 1, 6, 3, 32, 9]
    plan = (LayerPlan("linear", 0.25, False), LayerPlan("conv2d_3", 0.34, True))
    update = SparseUpdate(plan)
    built = build_training(program, "cortex-m4", update=update, optimizer=optimizer, name="net")
    before = built.weights
    steps(built, *samples(3), 0.01)
    chosen = {state.name: set(state.channels) for state in built.states.states}
    assert (len(chosen["linear_weight"]), len(chosen["conv2d_3_weight"])) == (8, 1)
    for name in ("linear_weight", "conv2d_3_weight"):
        is_changed = built.weights[name] != before[name]
        changed = np.flatnonzero(is_changed.reshape(-1, is_changed.shape[-1]).any(axis=0))
        assert 0 < len(changed) and set(changed.tolist()) <= chosen[name]
    assert np.any(built.weights["conv2d_3_bias"] != before["conv2d_3_bias"])
    assert "linear_bias" not in before and "conv2d_2_weight" not in before
    predicted = predict_memory(program, "cortex-m4", update=update, optimizer=optimizer)
    memory = built.memory()
    assert predicted.trainable_bytes == memory["trainable_bytes"]
    assert predicted.arena_bytes == memory["arena_bytes"]
