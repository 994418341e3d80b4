"""The integer arithmetic of the `tiny` dialect on torch tensors, and its gradients as published.

Activations are float tensors that hold integers. An operator computes its exact integers beside a
smooth float expression of the same value; `rounded` gives the integers forwards and hands the
gradient to the smooth expression backwards, where no clamp held the value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tvm_tiny.schedules.window import WindowAttributes

LARGEST_SINGLE = 1 << 24  # up to which float32 holds every integer


def high_mul(a: Tensor, b: Tensor | int) -> Tensor:
    """int64: (2 a b + 2^31) >> 32, as numerics.high_mul."""
    return (a * b + (1 << 30)) >> 31


def rounding_divide_by_power_of_two(x: Tensor, exponent: Tensor) -> Tensor:
    """int64: x / 2^exponent, halves away from zero."""
    mask = (torch.ones_like(exponent) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def requantize(acc: Tensor, multiplier: Tensor | int, shift: Tensor | int) -> Tensor:
    """int64: acc * multiplier * 2^(shift - 31), rounded twice as TensorFlow Lite does."""
    shift = torch.as_tensor(shift, device=acc.device)
    left, right = shift.clamp(min=0), (-shift).clamp(min=0)
    return rounding_divide_by_power_of_two(high_mul(acc << left, multiplier), right)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, value: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward((value >= low) & (value <= high))
        return value.clamp(low, high).to(smooth.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None, None, None


def rounded(smooth: Tensor, value: Tensor, low: int = -128, high: int = 127) -> Tensor:
    """`value` clamped to [low, high], with the gradient of `smooth` where it lay inside."""
    return _Rounded.apply(smooth, value, low, high)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, data: Tensor, weight: Tensor, attrs: WindowAttributes, groups: int, single: bool
    ) -> Tensor:
        ctx.save_for_backward(data, weight)
        ctx.window = (attrs, groups, single)
        dtype = _exact_dtype(data, weight)
        sums = torch.conv2d(
            data.to(dtype),
            weight.to(dtype),
            stride=attrs.strides,
            dilation=attrs.dilation,
            groups=groups,
        )
        return sums.to(data.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        data, weight = ctx.saved_tensors
        attrs, groups, single = ctx.window
        dtype = torch.float32 if single else torch.float64
        needed = [*ctx.needs_input_grad[:2], False]
        data_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            gradients[0].to(dtype),
            data.to(dtype),
            weight.to(dtype),
            None,
            list(attrs.strides),
            [0, 0],
            list(attrs.dilation),
            False,
            [0, 0],
            groups,
            needed,
        )
        wide = [None if g is None else g.double() for g in (data_gradient, weight_gradient)]
        return *wide, None, None, None


def _exact_dtype(data: Tensor, weight: Tensor) -> torch.dtype:
    """float32, which is faster, where every sum of products is proved to fit it."""
    if data.device.type != "cpu":
        return torch.float64
    magnitude = weight.abs().flatten(1).sum(dim=1).max() * data.abs().max()
    return torch.float32 if magnitude < LARGEST_SINGLE else torch.float64


def convolution(
    data: Tensor, weight: Tensor, attrs: WindowAttributes, groups: int, single: bool
) -> Tensor:
    """Exact sums of products of integers: NHWC data with zero at zero, weights (O, I, h, w).

    Gradients are float64, or computed in float32 where `single`.
    """
    top, left, bottom, right = attrs.padding
    planes = data.permute(0, 3, 1, 2)
    if attrs.is_padded:
        planes = torch.nn.functional.pad(planes, (left, right, top, bottom))
    sums = _Convolution.apply(planes, weight, attrs, groups, single)
    return sums.permute(0, 2, 3, 1)


def windows(
    data: Tensor, size: tuple[int, int], attrs: WindowAttributes, fill: float = 0.0
) -> Tensor:
    """All windows of NHWC data: (batch, out height, out width, taps in raster order, channels)."""
    top, left, bottom, right = attrs.padding
    padded = torch.nn.functional.pad(data, (0, 0, left, right, top, bottom), value=fill)
    rows, columns = (
        torch.arange(extent)[:, None] * stride + torch.arange(taps) * dilation
        for extent, stride, taps, dilation in zip(
            attrs.output_size((data.shape[1], data.shape[2]), size),
            attrs.strides,
            size,
            attrs.dilation,
            strict=True,
        )
    )
    found = padded[:, rows[:, None, :, None], columns[None, :, None, :], :]
    return found.flatten(3, 4)
