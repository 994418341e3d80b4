"""Accuracies of plans, by training in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.training.nets import SMALL  # noqa: E402
from tvm_tiny import zoo  # noqa: E402
from tvm_tiny.errors import InputError  # noqa: E402
from tvm_tiny.torch.evaluate_plans import PlanAccuracy, schedule  # noqa: E402
from tvm_tiny.training.update_plan import SparseUpdate  # noqa: E402

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(count: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    images = generator.integers(-128, 128, (count, 16, 16, 3), np.int8)
    return images, np.arange(count) % SMALL.classes


def trained(data: Any, **options: Any) -> PlanAccuracy:
    return PlanAccuracy(zoo.int8_module(SMALL), data, samples(6), batch_size=3, **options)


def changed(plan: SparseUpdate) -> set[str]:
    """Which weights and biases training by a plan changes."""
    evaluate = trained(samples(6), epochs=1, rate=2.0)
    before = {name: value.clone() for name, value in evaluate.module.state_dict().items()}
    evaluate(plan)
    after = evaluate.module.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_few_samples_are_learnt_by_heart() -> None:
    evaluate = trained(samples(6), epochs=20, rate=0.5)
    assert evaluate(SparseUpdate.last(1)) >= 5 / 6


def test_only_what_the_plan_says_is_trained() -> None:
    classifier = {"classifier.weight", "classifier.bias"}
    assert changed(SparseUpdate()) <= classifier
    found = changed(SparseUpdate.bias_only(1)) - classifier
    assert found == {"block1_project.bias"}


def test_every_plan_starts_from_the_same() -> None:
    evaluate = trained(samples(6), epochs=1, rate=2.0)
    first = evaluate(SparseUpdate.last(1))
    weights = evaluate.module.state_dict()["classifier.weight"].clone()
    evaluate(SparseUpdate.last(2))
    assert evaluate(SparseUpdate.last(1)) == first
    assert torch.equal(evaluate.module.state_dict()["classifier.weight"], weights)


def test_batches_of_a_loader_are_data_too() -> None:
    images, classes = samples(6)
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(classes))
    loader = torch.utils.data.DataLoader(tensors, batch_size=3)
    evaluate = PlanAccuracy(zoo.int8_module(SMALL), loader, loader, epochs=1)
    assert 0 <= evaluate(SparseUpdate()) <= 1
    assert evaluate.accuracy() == evaluate(SparseUpdate())


def test_data_that_does_not_match_is_refused() -> None:
    images, classes = samples(6)
    with pytest.raises(InputError, match="differ in number"):
        trained((images, classes[:5]))(SparseUpdate())


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule(progress / 100) for progress in range(101)]
    assert rates[0] == 0 and max(rates) == schedule(0.15) == 1
    assert rates[-1] == pytest.approx(0) and rates[15:] == sorted(rates[15:], reverse=True)
