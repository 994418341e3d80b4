"""Losses by float results: those of torch, and their kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.schedules.training.training_cases import Case, check, floats
from tests.support.kernels import Library
from tvm_tiny.schedules.training.losses import LossAttributes
from tvm_tiny.schedules.training.mean_squared_error import (
    MEAN_SQUARED_ERROR,
    MEAN_SQUARED_ERROR_GRADIENT,
)
from tvm_tiny.schedules.training.softmax_cross_entropy import (
    SOFTMAX_CROSS_ENTROPY,
    SOFTMAX_CROSS_ENTROPY_GRADIENT,
)

CROSS_ENTROPY, SQUARED = LossAttributes(1.0, 0), LossAttributes(1.0, 0)
LOGITS = [floats((1, 10)), floats((1, 10), 1, 60.0), np.full((1, 10), 3.0, np.float32)]
LABELS = [np.array([label], np.int32) for label in (0, 9, 4, -1, 10)]
BY_CLASS = [[logits, label] for logits in LOGITS for label in LABELS]
BY_VALUE = [[floats((2, 150)), floats((2, 150), 1)], [floats((2, 150), 2), floats((2, 150), 2)]]
CASES = {
    "cross entropy": Case(SOFTMAX_CROSS_ENTROPY, CROSS_ENTROPY, BY_CLASS),
    "gradient of it": Case(SOFTMAX_CROSS_ENTROPY_GRADIENT, CROSS_ENTROPY, BY_CLASS),
    "one class": Case(SOFTMAX_CROSS_ENTROPY_GRADIENT, CROSS_ENTROPY, [[floats((1,)), LABELS[0]]]),
    "squares": Case(MEAN_SQUARED_ERROR, SQUARED, BY_VALUE),
    "gradient of squares": Case(MEAN_SQUARED_ERROR_GRADIENT, SQUARED, BY_VALUE),
}


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name], 1e-5)


def test_cross_entropy_is_torchs() -> None:
    for logits, label in BY_CLASS:
        if not 0 <= label[0] < 10:
            continue
        data = torch.tensor(logits.astype(np.float64), requires_grad=True)
        loss = torch.nn.functional.cross_entropy(data, torch.tensor(label).long())
        loss.backward()
        ours = SOFTMAX_CROSS_ENTROPY.meaning(CROSS_ENTROPY, logits, label)
        np.testing.assert_allclose(ours, loss.detach().numpy().reshape(1), 1e-5, 1e-14)
        gradient = SOFTMAX_CROSS_ENTROPY_GRADIENT.meaning(CROSS_ENTROPY, logits, label)
        np.testing.assert_allclose(gradient, data.grad.numpy(), 1e-5, 1e-14)


def test_mean_squared_error_is_torchs() -> None:
    for output, target in BY_VALUE:
        data = torch.tensor(output.astype(np.float64), requires_grad=True)
        loss = torch.nn.functional.mse_loss(data, torch.tensor(target.astype(np.float64)))
        loss.backward()
        ours = MEAN_SQUARED_ERROR.meaning(SQUARED, output, target)
        np.testing.assert_allclose(ours, loss.detach().numpy().reshape(1), 1e-5)
        gradient = MEAN_SQUARED_ERROR_GRADIENT.meaning(SQUARED, output, target)
        np.testing.assert_allclose(gradient, data.grad.numpy(), 1e-5, 1e-9)
