from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, bytes_of, check
from tests.support.kernels import Library
from tvm_tiny.schedules.training.losses import LossAttributes
from tvm_tiny.schedules.training.softmax_cross_entropy import (
    SOFTMAX_CROSS_ENTROPY,
    SOFTMAX_CROSS_ENTROPY_GRADIENT,
)

Array = np.ndarray[Any, Any]


def samples(shape: tuple[int, ...]) -> list[list[Array]]:
    """Return logits with labels at both ends, equal ones, far ones, labels that do not exist."""
    count = int(np.prod(shape))
    equal, far = np.full(shape, -128, np.int8), np.full(shape, -128, np.int8)
    far.reshape(-1)[0] = 127
    logits = [bytes_of(shape), equal, far, far, far, far, bytes_of(shape, 1)]
    labels = [count - 1, 0, 0, count - 1, -1, count, 0]
    return [[x, np.array([label], np.int32)] for x, label in zip(logits, labels, strict=True)]


CASES = {
    f"{operator.name} {shape} {scale}": Case(
        operator, LossAttributes(scale, zero_point), samples(shape)
    )
    for operator in (SOFTMAX_CROSS_ENTROPY, SOFTMAX_CROSS_ENTROPY_GRADIENT)
    for shape, scale, zero_point in [
        ((1, 10), 0.0731, -3),
        ((1, 1, 1, 1000), 0.25, 127),
        ((2,), 1.5, -128),
        ((1, 1), 0.1, 0),
        ((1, 7), 0.0003, 9),
    ]
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 1e-5)


@pytest.mark.parametrize("scale", [0.0731, 0.25, 0.003])
def test_meaning_is_torch(scale: float) -> None:
    attrs = LossAttributes(scale, -3)
    for logits, label in samples((1, 10)):
        if not 0 <= label[0] < 10:
            continue
        steps = torch.tensor(logits.astype(np.float64), requires_grad=True)
        loss = torch.nn.functional.cross_entropy(scale * (steps + 3), torch.tensor(label).long())
        loss.backward()
        ours = SOFTMAX_CROSS_ENTROPY.meaning(attrs, logits, label)
        # torch takes the difference of numbers near each other
        np.testing.assert_allclose(ours, loss.detach().numpy().reshape(1), 1e-5, 1e-14)
        gradient = SOFTMAX_CROSS_ENTROPY_GRADIENT.meaning(attrs, logits, label)
        np.testing.assert_allclose(gradient, steps.grad.numpy(), 1e-5, 1e-14)
