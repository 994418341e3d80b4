"""Accuracies of update plans: each is trained from the same start, with the firmware's updates.

evaluate = PlanAccuracy("model.tflite", (images, classes), (other_images, other_classes))
table = measure_contributions(module, evaluate)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from tvm_tiny.errors import InputError
from tvm_tiny.torch.module import QuantizedModule
from tvm_tiny.torch.optimizer import QuantizedSGD
from tvm_tiny.training.update_plan import SparseUpdate

WARM_UP = 0.15  # of all steps, in which the rate rises

Data = tuple[Any, Any] | Iterable[tuple[Any, Any]]


class PlanAccuracy:
    """`evaluate(plan)`: the share of test samples that are right after training by the plan.

    Data is a pair of arrays, samples as the model takes them (integers) and classes, or batches of
    such pairs, as a torch DataLoader gives them. The rate rises, then falls as a cosine. The same
    seed shuffles arrays the same way for every plan.
    """

    def __init__(
        self,
        model: object,
        train: Data,
        test: Data,
        *,
        epochs: int = 4,
        rate: float = 0.005,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        """Read the model, once for all plans."""
        self.module = QuantizedModule.from_model(model, single=True)
        self.train, self.test = train, test
        self.epochs, self.rate, self.batch_size, self.seed = epochs, rate, batch_size, seed
        self._start = deepcopy(self.module.state_dict())

    def __call__(self, plan: SparseUpdate) -> float:
        """Train from the start, and test."""
        self.module.load_state_dict(self._start)
        optimizer = QuantizedSGD(self.module.parameters_of_plan(plan), self.rate)
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in range(self.epochs):
            batches = list(_batches(self.train, self.batch_size, generator))
            for number, (samples, classes) in enumerate(batches):
                progress = (epoch + number / len(batches)) / self.epochs
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * schedule(progress)
                optimizer.zero_grad()
                self.module.loss(samples, classes).backward()
                optimizer.step()
        return self.accuracy()

    @torch.no_grad()
    def accuracy(self) -> float:
        """The share of test samples that the module as it is gets right."""
        right = count = 0
        for samples, classes in _batches(self.test, self.batch_size, None):
            found = self.module.logits(samples).reshape(len(samples), -1).argmax(dim=1)
            right, count = right + int((found == classes).sum()), count + len(samples)
        return right / count


def schedule(progress: float) -> float:
    """The rate's factor at a part of the training."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


def _batches(
    data: Data, size: int, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples and classes; arrays in an order of the generator's, if there is one."""
    if not isinstance(data, tuple):
        for samples, classes in data:
            yield torch.as_tensor(samples), torch.as_tensor(classes).long()
        return
    samples, classes = torch.as_tensor(data[0]), torch.as_tensor(data[1]).long()
    if len(samples) != len(classes) or not len(samples):
        raise InputError(
            "samples and classes differ in number", limit=len(samples), found=len(classes)
        )
    order = torch.arange(len(samples))
    if generator is not None:
        order = torch.randperm(len(samples), generator=generator)
    for chosen in order.split(size):
        yield samples[chosen], classes[chosen]
