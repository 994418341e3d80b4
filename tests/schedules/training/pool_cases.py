"""Poolings whose gradients are tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.training.avg_pool2d_gradient import PoolGradientAttributes

# size of the image, channels, window, strides, padding, dilation
POOLS: list[tuple[Any, ...]] = [
    ((8, 8), 5, (8, 8), (1, 1), (0, 0, 0, 0), (1, 1)),
    ((7, 6), 3, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
    ((7, 9), 4, (3, 3), (2, 1), (1, 1, 1, 1), (1, 1)),
    ((6, 5), 1, (3, 2), (1, 3), (1, 0, 1, 1), (1, 1)),
    ((9, 8), 7, (3, 3), (3, 2), (1, 1, 1, 1), (2, 2)),
]


def attributes(
    size: Any, channels: int, window: Any, strides: Any, padding: Any, dilation: Any
) -> PoolGradientAttributes:
    """Return the attributes of a pooling's gradient."""
    return PoolGradientAttributes(strides, padding, dilation, window, -128, 127, size)


def output_shape(attrs: PoolGradientAttributes, channels: int) -> tuple[int, ...]:
    """Return the pooling's output's shape."""
    return (1, *attrs.output_size(attrs.input_size, attrs.size), channels)


def nchw(array: Array) -> Any:
    """Return NHWC as torch wants it."""
    return torch.tensor(array.astype(np.float64).transpose(0, 3, 1, 2).copy())


def nhwc(tensor: Any) -> Array:
    """Return it back."""
    result: Array = tensor.detach().numpy().transpose(0, 2, 3, 1)
    return result
