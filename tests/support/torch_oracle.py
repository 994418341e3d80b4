"""Gradients of an int8 model by torch's autograd: what the firmware's are compared with.

Values come from the operators' meanings in numpy; gradients from float64 expressions of the real
functions, written with torch's own layers. Where a meaning clamps, the gradient is zero outside.
Nothing is shared with `tvm_tiny.torch` but where the logits are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tvm
from tvm import ir, relax

from tests.support.evaluate_tiny import bindings
from tvm_tiny.schedules import dialect, numerics

torch = pytest.importorskip("torch")
functional: Any = torch.nn.functional

Array = np.ndarray[Any, Any]
LINEAR = ("tiny.qconv2d", "tiny.qdepthwise_conv2d", "tiny.qdense")


def gradients(
    module: tvm.IRModule, x: Array, target: Any, loss: str = "softmax_cross_entropy"
) -> tuple[float, dict[str, Array]]:
    """Return the mean loss of a batch and the gradients of `<layer>.weight` and `<layer>.bias`.

    `module` is in the dialect; gradients are per integer step, weights in the dialect's layout.
    """
    from tvm_tiny.torch.scales import head_of

    parameters: dict[str, Any] = {}
    head = head_of(module)
    values = _values(module, torch.from_numpy(x).double(), parameters, head.logits)
    assert head.quantisation is not None
    real = (values[head.logits] - head.quantisation.zero_point) * head.quantisation.scale
    if loss == "softmax_cross_entropy":
        log_probability = functional.log_softmax(real.flatten(1), dim=1)
        result = functional.nll_loss(log_probability, torch.as_tensor(target))
    else:
        result = ((real.flatten() - torch.as_tensor(target).double().flatten()) ** 2).mean()
    result.backward()
    found = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    return result.item(), {name: gradient.numpy() for name, gradient in found.items()}


def operator_gradients(
    call: Any, inputs: list[Array], upstream: Array
) -> tuple[Array, list[Array], dict[str, Array]]:
    """Return one call's value and the gradients of its inputs and of its weights.

    `upstream` is the gradient of the value; `weight` and `bias` are those of linear layers.
    """
    tensors = [torch.from_numpy(data).double().requires_grad_() for data in inputs]
    parameters: dict[str, Any] = {}
    value = _call(call, tensors, parameters)
    value.backward(torch.from_numpy(upstream).double())
    weights = {name.rpartition(".")[2]: p.grad.numpy() for name, p in parameters.items()}
    return value.detach().numpy(), [tensor.grad.numpy() for tensor in tensors], weights


def _values(
    module: tvm.IRModule, data: Any, parameters: dict[str, Any], last: Any
) -> dict[Any, Any]:
    values: dict[Any, Any] = {module["main"].params[0]: data}
    for binding in bindings(module):
        if last in values:
            break
        call = binding.value
        if isinstance(call, relax.Tuple):
            continue
        inputs = [values[argument] for argument in call.args if isinstance(argument, ir.Var)]
        if call.op.name == "relax.reshape":
            shape = [int(extent) for extent in binding.var.ty.shape]
            values[binding.var] = inputs[0].reshape(-1, *shape[1:])
        else:
            values[binding.var] = _call(call, inputs, parameters)
    return values


def _call(call: Any, inputs: list[Any], parameters: dict[str, Any]) -> Any:
    attrs = dialect.attributes_of(call)
    given = iter(inputs)
    arguments = [
        torch.from_numpy(a.astype(np.float64)) if isinstance(a, np.ndarray) else next(given)
        for a in dialect.arguments_of(call)
    ]
    if call.op.name in LINEAR:
        for name, value in zip(("weight", "bias"), arguments[1:3], strict=True):
            parameters[f"{attrs.layer}.{name}"] = value.requires_grad_()
    exact, mask = _exact(call, [value.detach().numpy() for value in inputs])
    smooth = SMOOTH[call.op.name](attrs, *arguments)
    smooth = torch.where(mask, smooth, smooth.detach())
    return exact + (smooth - smooth.detach())  # the bits of `exact`


def _exact(call: Any, inputs: list[Array]) -> tuple[Any, Any]:
    """Return the meaning's value, and where its clamp let it through."""
    masks: list[Array] = []

    def clamp(values: Array, low: int = -128, high: int = 127) -> Array:
        masks.append((values >= low) & (values <= high))
        return np.clip(values, low, high).astype(np.int8)

    is_real = call.op.name == "tiny.quantize"
    arrays = [value.astype(np.float32 if is_real else np.int8) for value in inputs]
    with mock.patch.object(numerics, "clamp_int8", clamp):
        exact = dialect.run_meaning(call, arrays)
    is_clamped = masks and call.op.name != "tiny.qsoftmax"  # which only saturates at one
    mask = masks[0] if is_clamped else np.ones(exact.shape, bool)
    return torch.from_numpy(exact.astype(np.float64)), torch.from_numpy(mask)


# The real functions, of tensors that hold integers.


def _real(multiplier: Any, shift: Any) -> Any:
    return multiplier * 2.0 ** (shift - 31)


def _conv2d(attrs: Any, x: Any, weight: Any, bias: Any, *scaling: Any) -> Any:
    return _scaled(
        attrs, _window(attrs, x, weight.permute(0, 3, 1, 2), attrs.groups), bias, scaling
    )


def _depthwise(attrs: Any, x: Any, weight: Any, bias: Any, *scaling: Any) -> Any:
    planes = weight.permute(2, 0, 1).unsqueeze(1)
    return _scaled(attrs, _window(attrs, x, planes, x.shape[3]), bias, scaling)


def _dense(attrs: Any, x: Any, weight: Any, bias: Any, *scaling: Any) -> Any:
    return _scaled(attrs, functional.linear(x - attrs.input_zero_point, weight), bias, scaling)


def _window(attrs: Any, x: Any, weight: Any, groups: int) -> Any:
    padded = _padded(attrs, x - attrs.input_zero_point, 0.0)
    sums = functional.conv2d(padded, weight, None, attrs.strides, 0, attrs.dilation, groups)
    return sums.permute(0, 2, 3, 1)


def _padded(attrs: Any, x: Any, fill: float) -> Any:
    top, left, bottom, right = attrs.padding
    return functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=fill)


def _scaled(attrs: Any, sums: Any, bias: Any, scaling: Any) -> Any:
    unit = 2.0**attrs.fraction_bits
    return (sums + bias / unit) * (unit * _real(*scaling))


def _add(attrs: Any, a: Any, b: Any) -> Any:
    output = _real(attrs.output_multiplier, attrs.output_shift) * 2.0**20
    first = (a - attrs.a_zero_point) * _real(attrs.a_multiplier, attrs.a_shift)
    second = (b - attrs.b_zero_point) * _real(attrs.b_multiplier, attrs.b_shift)
    return (first + attrs.sign * second) * output


def _multiply(attrs: Any, a: Any, b: Any) -> Any:
    return (
        (a - attrs.a_zero_point) * (b - attrs.b_zero_point) * _real(attrs.multiplier, attrs.shift)
    )


def _average(attrs: Any, x: Any) -> Any:
    averages = [
        functional.avg_pool2d(_padded(attrs, data, 0.0), attrs.size, attrs.strides)
        for data in (x, torch.ones_like(x))
    ]
    return (averages[0] / averages[1]).permute(0, 2, 3, 1)


def _largest(attrs: Any, x: Any) -> Any:
    padded = _padded(attrs, x, -np.inf)
    pooled = functional.max_pool2d(padded, attrs.size, attrs.strides, 0, attrs.dilation)
    return pooled.permute(0, 2, 3, 1)


def _mean(attrs: Any, x: Any) -> Any:
    total = (x - attrs.input_zero_point).sum(attrs.axes, keepdim=bool(attrs.keep_dims))
    return total * _real(attrs.multiplier, attrs.shift)


def _lookup(attrs: Any, x: Any, table: Any) -> Any:
    slopes = torch.from_numpy(np.gradient(table.numpy()))
    return x * slopes[x.detach().long() + 128]


def _pad(attrs: Any, x: Any) -> Any:
    output = torch.full(
        [d + b + a for d, b, a in zip(x.shape, attrs.before, attrs.after, strict=True)],
        float(attrs.value),
        dtype=torch.float64,
    )
    place = [slice(b, b + d) for d, b in zip(x.shape, attrs.before, strict=True)]
    output[tuple(place)] = x
    return output


def _resize(attrs: Any, x: Any) -> Any:
    factors = tuple(float(factor) for factor in attrs.factors)
    planes = x.permute(0, 3, 1, 2)
    return functional.interpolate(planes, scale_factor=factors, mode="nearest").permute(0, 2, 3, 1)


SMOOTH: Mapping[str, Callable[..., Any]] = {
    "tiny.qconv2d": _conv2d,
    "tiny.qdepthwise_conv2d": _depthwise,
    "tiny.qdense": _dense,
    "tiny.qadd": _add,
    "tiny.qmul": _multiply,
    "tiny.qavg_pool2d": _average,
    "tiny.qmax_pool2d": _largest,
    "tiny.qmean": _mean,
    "tiny.lookup": _lookup,
    "tiny.concat": lambda attrs, *tensors: torch.cat(tensors, attrs.axis),
    "tiny.pad": _pad,
    "tiny.resize": _resize,
    "tiny.transpose": lambda attrs, x: x.permute(attrs.axes),
    "tiny.qsoftmax": lambda attrs, x: torch.softmax(x * attrs.scale, -1) * 256 - 128,
    "tiny.quantize": lambda attrs, x: x / attrs.scale + attrs.zero_point,
    "tiny.dequantize": lambda attrs, x: (x - attrs.zero_point) * attrs.scale,
}
