"""Every operator of the dialect but the linear layers, as a function of torch tensors.

A function takes the operator's attributes, then its arguments in order. Values are float64 that
hold integers, NHWC, any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tvm_tiny.schedules import qsoftmax, quantize
from tvm_tiny.schedules.concat import ConcatAttributes
from tvm_tiny.schedules.dequantize import DequantizeAttributes
from tvm_tiny.schedules.dialect import Array, Attributes
from tvm_tiny.schedules.lookup import LookupAttributes
from tvm_tiny.schedules.pad import PadAttributes
from tvm_tiny.schedules.qadd import LEFT_SHIFT, QAddAttributes
from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes
from tvm_tiny.schedules.qmean import QMeanAttributes
from tvm_tiny.schedules.qmul import QMulAttributes
from tvm_tiny.schedules.qsoftmax import OUTPUT_SCALE, OUTPUT_ZERO_POINT, QSoftmaxAttributes
from tvm_tiny.schedules.quantize import QuantizeAttributes
from tvm_tiny.schedules.resize import ResizeAttributes
from tvm_tiny.schedules.transpose import TransposeAttributes
from tvm_tiny.torch.arithmetic import requantize, rounded, windows

BELOW_INT8 = -129.0  # never the largest


def real(multiplier: int, shift: int) -> float:
    """What a fixed-point multiplier stands for."""
    return multiplier * 2.0 ** (shift - 31)


def add(attrs: QAddAttributes, a: Tensor, b: Tensor) -> Tensor:
    """tiny.qadd."""

    def raised(values: Tensor, zero_point: int, multiplier: int, shift: int) -> Tensor:
        return requantize((values.long() - zero_point) << LEFT_SHIFT, multiplier, shift)

    total = raised(a, attrs.a_zero_point, attrs.a_multiplier, attrs.a_shift)
    other = raised(b, attrs.b_zero_point, attrs.b_multiplier, attrs.b_shift)
    total = total + attrs.sign * other
    value = requantize(total, attrs.output_multiplier, attrs.output_shift)
    output = real(attrs.output_multiplier, attrs.output_shift + LEFT_SHIFT)
    smooth = real(attrs.a_multiplier, attrs.a_shift) * output * a
    smooth = smooth + attrs.sign * real(attrs.b_multiplier, attrs.b_shift) * output * b
    return rounded(smooth, value + attrs.output_zero_point, attrs.clamp_min, attrs.clamp_max)


def multiply(attrs: QMulAttributes, a: Tensor, b: Tensor) -> Tensor:
    """tiny.qmul."""
    product = (a - attrs.a_zero_point) * (b - attrs.b_zero_point)
    value = requantize(product.long(), attrs.multiplier, attrs.shift) + attrs.output_zero_point
    smooth = product * real(attrs.multiplier, attrs.shift)
    return rounded(smooth, value, attrs.clamp_min, attrs.clamp_max)


def average_pool(attrs: QPool2DAttributes, data: Tensor) -> Tensor:
    """tiny.qavg_pool2d: taps outside the image do not count."""
    count = windows(torch.ones_like(data[:1, ..., :1]), attrs.size, attrs).sum(dim=3)
    total = windows(data, attrs.size, attrs).sum(dim=3)
    taps = count.long()
    magnitude = (total.long().abs() + taps // 2) // taps
    value = total.sign().long() * magnitude
    return rounded(total / count, value, attrs.clamp_min, attrs.clamp_max)


def max_pool(attrs: QPool2DAttributes, data: Tensor) -> Tensor:
    """tiny.qmax_pool2d; of equal taps the first has the gradient."""
    taps = windows(data, attrs.size, attrs, BELOW_INT8)
    first = taps.detach().argmax(dim=3, keepdim=True)
    largest = taps.gather(3, first).squeeze(3)
    return rounded(largest, largest.detach(), attrs.clamp_min, attrs.clamp_max)


def mean(attrs: QMeanAttributes, data: Tensor) -> Tensor:
    """tiny.qmean."""
    total = (data - attrs.input_zero_point).sum(dim=attrs.axes, keepdim=bool(attrs.keep_dims))
    value = requantize(total.long(), attrs.multiplier, attrs.shift) + attrs.output_zero_point
    return rounded(total * real(attrs.multiplier, attrs.shift), value)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, table: Tensor, slopes: Tensor) -> Tensor:
        index = data.long() + 128
        ctx.save_for_backward(index, slopes)
        return table[index]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        index, slopes = ctx.saved_tensors
        return gradients[0] * slopes[index], None, None


def lookup(attrs: LookupAttributes, data: Tensor, table: Tensor) -> Tensor:
    """tiny.lookup; the derivative of a table is its central differences (one-sided at the ends)."""
    slopes = torch.gradient(table)[0]
    return _Lookup.apply(data, table, slopes)


def concat(attrs: ConcatAttributes, *tensors: Tensor) -> Tensor:
    """tiny.concat."""
    return torch.cat(tensors, dim=attrs.axis)


def pad(attrs: PadAttributes, data: Tensor) -> Tensor:
    """tiny.pad."""
    pairs = [*zip(attrs.before, attrs.after, strict=True)]
    widths = [width for pair in reversed(pairs) for width in pair]
    return torch.nn.functional.pad(data, widths, value=float(attrs.value))


def resize(attrs: ResizeAttributes, data: Tensor) -> Tensor:
    """tiny.resize."""
    rows = data.repeat_interleave(attrs.factors[0], dim=1)
    return rows.repeat_interleave(attrs.factors[1], dim=2)


def transpose(attrs: TransposeAttributes, data: Tensor) -> Tensor:
    """tiny.transpose."""
    return data.permute(attrs.axes)


def _by_meaning(meaning: Callable[..., Array], attrs: Attributes, data: Tensor) -> Tensor:
    values = meaning(attrs, data.detach().cpu().numpy())
    return torch.as_tensor(np.ascontiguousarray(values), device=data.device)


def softmax(attrs: QSoftmaxAttributes, data: Tensor) -> Tensor:
    """tiny.qsoftmax."""
    value = _by_meaning(qsoftmax.meaning, attrs, data.detach().to(torch.int8)).long()
    smooth = torch.softmax(data * attrs.scale, dim=-1) / OUTPUT_SCALE + OUTPUT_ZERO_POINT
    return rounded(smooth, value)


def quantize_real(attrs: QuantizeAttributes, data: Tensor) -> Tensor:
    """tiny.quantize."""
    value = _by_meaning(quantize.meaning, attrs, data.detach().float()).long()
    smooth = data.double() / attrs.scale + attrs.zero_point
    # the ends of int8 clamp: values beyond them have no gradient
    inside = (smooth > -128.5) & (smooth < 127.5)
    return rounded(torch.where(inside, smooth, smooth.detach()), value)


def dequantize(attrs: DequantizeAttributes, data: Tensor) -> Tensor:
    """tiny.dequantize; one rounding to float32, as on the device."""
    scaled = (data - attrs.zero_point) * attrs.scale
    return scaled.detach().float().double() + (scaled - scaled.detach())


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "tiny.qadd": add,
    "tiny.qmul": multiply,
    "tiny.qavg_pool2d": average_pool,
    "tiny.qmax_pool2d": max_pool,
    "tiny.qmean": mean,
    "tiny.lookup": lookup,
    "tiny.concat": concat,
    "tiny.pad": pad,
    "tiny.resize": resize,
    "tiny.transpose": transpose,
    "tiny.qsoftmax": softmax,
    "tiny.quantize": quantize_real,
    "tiny.dequantize": dequantize,
}
