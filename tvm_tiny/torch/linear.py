"""Layers with weights: convolutions and dense layers as torch modules."""

from __future__ import annotations

import torch
from torch import Tensor

from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.qconv2d import QConv2DAttributes
from tvm_tiny.schedules.qdense import QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes
from tvm_tiny.torch.arithmetic import convolution, high_mul, requantize, rounded

LinearAttributes = QConv2DAttributes | QDepthwiseConv2DAttributes | QDenseAttributes
INT32 = (-(1 << 31), (1 << 31) - 1)
LAYERS = ("tiny.qconv2d", "tiny.qdepthwise_conv2d", "tiny.qdense")


class Linear(torch.nn.Module):
    """One convolution or dense layer.

    `weight` (in the dialect's own layout) and `bias` are float64 parameters that hold integers;
    where an optimiser makes them something else, their nearest integers count.
    """

    multiplier: Tensor
    shift: Tensor

    def __init__(
        self,
        attrs: LinearAttributes,
        constants: tuple[Array, ...],
        single: bool,
    ) -> None:
        """Take weight, bias, multiplier and shift of a call."""
        super().__init__()
        weight, bias, multiplier, shift = (torch.from_numpy(c.copy()) for c in constants)
        self.attrs, self.single = attrs, single
        self.weight = torch.nn.Parameter(weight.double(), requires_grad=False)
        self.bias = torch.nn.Parameter(bias.double(), requires_grad=False)
        self.register_buffer("multiplier", multiplier.long(), persistent=False)
        self.register_buffer("shift", shift.long(), persistent=False)

    @property
    def bias_slope(self) -> Tensor:
        """d output / d bias of each channel, both in integer steps."""
        return self.multiplier * 2.0 ** (self.shift - 31).double()

    @property
    def weight_scale(self) -> Tensor | None:
        """Scale of each output channel's weights; None where activations' scales are unknown."""
        if not self.attrs.input_scale or not self.attrs.output_scale:
            return None
        slope = self.bias_slope * 2.0**self.attrs.fraction_bits
        return slope * self.attrs.output_scale / self.attrs.input_scale

    @property
    def bias_scale(self) -> Tensor | None:
        """Scale of each bias; None where the output's scale is unknown."""
        return self.bias_slope * self.attrs.output_scale if self.attrs.output_scale else None

    @property
    def channel_axis(self) -> int:
        """The axis of `weight` that output channels lie on."""
        return 2 if isinstance(self.attrs, QDepthwiseConv2DAttributes) else 0

    def forward(self, data: Tensor) -> Tensor:
        """Integers to integers."""
        attrs = self.attrs
        sums = self._sums(data - attrs.input_zero_point, _nearest(self.weight))
        total = sums * 2.0**attrs.fraction_bits + _nearest(self.bias)
        value = self._scaled(total.detach().long()) + attrs.output_zero_point
        return rounded(total * self.bias_slope, value, attrs.clamp_min, attrs.clamp_max)

    def _sums(self, data: Tensor, weight: Tensor) -> Tensor:
        attrs = self.attrs
        if isinstance(attrs, QDenseAttributes):
            return data @ weight.T
        if isinstance(attrs, QDepthwiseConv2DAttributes):
            filters, groups = weight.permute(2, 0, 1)[:, None], data.shape[3]
        else:
            filters, groups = weight.permute(0, 3, 1, 2), attrs.groups
        return convolution(data, filters, attrs, groups, self.single)

    def _scaled(self, total: Tensor) -> Tensor:
        """As the firmware's training does it: what leaves 32 bits saturates."""
        total = total.clamp(*INT32)
        if self.attrs.fraction_bits:
            half = torch.ones_like(self.shift) << -self.shift >> 1
            return (high_mul(total, self.multiplier) + half) >> -self.shift
        left = (total << self.shift.clamp(min=0)).clamp(*INT32)
        return requantize(left, self.multiplier, self.shift.clamp(max=0))


def _nearest(parameter: Tensor) -> Tensor:
    """The nearest integers, with the gradient of the parameter itself."""
    return parameter.detach().round() + (parameter - parameter.detach())
