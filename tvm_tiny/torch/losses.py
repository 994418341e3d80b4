"""Losses of logits that are integers, on their real values."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, label: Tensor, scale: float, zero_point: int) -> Tensor:
    """Mean over the batch of -log softmax(scale * (q - zero_point))[label]."""
    real = (logits.flatten(1) - zero_point) * scale
    return torch.nn.functional.cross_entropy(real, label)


def mean_squared_error(output: Tensor, target: Tensor, scale: float, zero_point: int) -> Tensor:
    """Mean over all elements of (scale * (q - zero_point) - target)^2."""
    real = (output - zero_point) * scale
    return torch.nn.functional.mse_loss(real.flatten(), target.to(real.dtype).flatten())
