"""Gradients of the dialect's operators: one rule each, in one table.

A rule gives, for the gradient of a call's result, the gradients of its arguments. Activations are
integers; a gradient is per integer step, d loss / d q, in float32. The arithmetic is that of Lin et
al., "On-Device Training Under 256KB Memory" (arXiv 2206.15472): straight through the rounding,
nothing through what was clamped, s_eff = input scale x weight scale / output scale for products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import ir, relax
from tvm.relax.op.base import register_gradient
from tvm.relax.op.grad import no_grad

from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of, spec_of
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.numerics import INT8_MAX, INT8_MIN
from tvm_tiny.schedules.training.wide import scaling_table

Rule = Callable[[ir.Var, ir.Call, ir.Expr, relax.BlockBuilder], Sequence[ir.Expr]]


def operator(name: str, *arguments: ir.Expr, layer: str = "", **fields: Any) -> ir.Call:
    """A call of `tiny.<name>` with attributes of these values."""
    known = OPERATORS[f"tiny.{name}"]
    return known(known.attributes(**fields, layer=layer), *arguments)


def real_multiplier(multiplier: Any, shift: Any) -> Array:
    """What a fixed-point multiplier and shift stand for: multiplier x 2^(shift - 31), float64."""
    return np.ldexp(np.asarray(multiplier, np.float64), np.asarray(shift, np.int64) - 31)


def effective_scale(call: ir.Call) -> Array:
    """Output steps for one step of a sum of products, by channel: s_x s_w / s_y, float64."""
    multiplier, shift = (argument.value.numpy() for argument in call.args[3:5])
    return real_multiplier(multiplier, shift) * 2.0 ** attributes_of(call).fraction_bits


def _constant(values: Any) -> ir.Expr:
    return relax.const(np.atleast_1d(np.asarray(values, np.float32)))


def _rest(call: ir.Call, gradients: Sequence[ir.Expr]) -> list[ir.Expr]:
    """The gradients, and none for the arguments behind."""
    return [*gradients, *(no_grad(argument) for argument in call.args[len(gradients) :])]


def _window(attrs: Any) -> dict[str, Any]:
    return {name: getattr(attrs, name) for name in ("strides", "padding", "dilation")}


def _size(data: ir.Expr) -> tuple[int, ...]:
    return spec_of(data).shape[1:3]


def _scaled(call: ir.Call, gradient: ir.Expr) -> ir.Call:
    """The gradient by the layer's effective scales, in the rows that its kernel reads."""
    attrs = attributes_of(call)
    multiplier, shift = (argument.value.numpy() for argument in call.args[3:5])
    _, rows = scaling_table(multiplier, shift)
    factor = 2.0**attrs.fraction_bits
    scale = relax.const(rows)
    return operator("scale_gradient", gradient, scale, factor=factor, layer=attrs.layer)


def _wide_conv2d(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs, (data, weight) = attributes_of(call), call.args[:2]
    window = _window(attrs) | {"groups": attrs.groups, "layer": attrs.layer}
    scaled = builder.emit(_scaled(call, gradient))
    kernel = {
        "kernel_size": spec_of(weight).shape[1:3],
        "input_zero_point": attrs.input_zero_point,
        "channels": (),
    }
    return _rest(
        call,
        [
            operator("conv2d_input_gradient", scaled, weight, **window, input_size=_size(data)),
            operator("conv2d_weight_gradient", data, scaled, **window, **kernel),
            operator("bias_gradient", scaled, layer=attrs.layer),
        ],
    )


def _wide_depthwise_conv2d(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs, (data, weight) = attributes_of(call), call.args[:2]
    window = _window(attrs) | {"layer": attrs.layer}
    scaled = builder.emit(_scaled(call, gradient))
    kernel = {
        "kernel_size": spec_of(weight).shape[:2],
        "input_zero_point": attrs.input_zero_point,
    }
    return _rest(
        call,
        [
            operator("depthwise_input_gradient", scaled, weight, **window, input_size=_size(data)),
            operator("depthwise_weight_gradient", data, scaled, **window, **kernel),
            operator("bias_gradient", scaled, layer=attrs.layer),
        ],
    )


def _wide_add(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs = attributes_of(call)
    # operands gain 20 bits before they are added, which the output's multiplier takes back
    output = real_multiplier(attrs.output_multiplier, attrs.output_shift) * 2.0**20
    a = real_multiplier(attrs.a_multiplier, attrs.a_shift) * output
    b = real_multiplier(attrs.b_multiplier, attrs.b_shift) * output * attrs.sign
    return [
        operator("scale_gradient", gradient, _constant(factor), layer=attrs.layer)
        for factor in (a, b)
    ]


def _wide_mul(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs, (a, b) = attributes_of(call), call.args
    factor = real_multiplier(attrs.multiplier, attrs.shift)
    # what an operand's gradient is multiplied by depends on the other's value alone
    pairs = ((b, attrs.b_zero_point), (a, attrs.a_zero_point))
    return [
        operator(
            "lookup_gradient",
            gradient,
            other,
            _constant(factor * (DOMAIN - zero_point)),
            layer=attrs.layer,
        )
        for other, zero_point in pairs
    ]


def _truncate(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs = attributes_of(call)
    clamp = {"clamp_min": attrs.clamp_min, "clamp_max": attrs.clamp_max, "layer": attrs.layer}
    mask = builder.emit(operator("in_range", call.args[0], **clamp))
    return [operator("mask_gradient", gradient, mask, layer=attrs.layer)]


def _cross_entropy(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return _loss(call, "softmax_cross_entropy_gradient")


def _mean_squared_error(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return _loss(call, "mean_squared_error_gradient")


def _loss(call: ir.Call, name: str) -> list[ir.Expr]:
    """The loss is what all gradients are of: its own is one."""
    attrs = attributes_of(call)
    fields = {"scale": attrs.scale, "zero_point": attrs.zero_point, "layer": attrs.layer}
    return _rest(call, [operator(name, *call.args, **fields)])


def _qmean(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs = attributes_of(call)
    fields = {"axes": attrs.axes, "keep_dims": attrs.keep_dims, "layer": attrs.layer}
    factor = float(real_multiplier(attrs.multiplier, attrs.shift))
    shape = spec_of(call.args[0]).shape
    return [operator("mean_gradient", gradient, **fields, shape=shape, factor=factor)]


def _float_conv2d(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs, (data, weight) = attributes_of(call), call.args[:2]
    window = _window(attrs) | {"groups": attrs.groups, "layer": attrs.layer}
    size = spec_of(weight).shape[1:3]
    kernel: dict[str, Any] = {"kernel_size": size, "input_zero_point": 0, "channels": ()}
    return [
        operator("conv2d_input_gradient", gradient, weight, **window, input_size=_size(data)),
        operator("conv2d_weight_gradient", data, gradient, **window, **kernel),
        operator("bias_gradient", gradient, layer=attrs.layer),
    ]


def _float_clip(
    var: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return [operator("clip_gradient", gradient, var, **vars(attributes_of(call)))]


def _of_rows(gradient: ir.Expr, row: ir.Expr, layer: str, builder: relax.BlockBuilder) -> ir.Expr:
    """The gradient of what is added to each row: their sum, as that of a bias."""
    whole, part = spec_of(gradient), spec_of(row)
    if whole.shape == part.shape:
        return gradient
    rows = relax.op.reshape(gradient, (whole.elements // part.elements, part.elements))
    total = builder.emit(operator("bias_gradient", builder.emit(rows), layer=layer))
    return relax.op.reshape(total, part.shape)


def _float_add(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, builder: relax.BlockBuilder
) -> list[ir.Expr]:
    layer, (_, b) = attributes_of(call).layer, call.args
    if isinstance(b, ir.GenericConst):
        return _rest(call, [gradient])
    return [gradient, _of_rows(gradient, b, layer, builder)]


def _float_mul(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, builder: relax.BlockBuilder
) -> list[ir.Expr]:
    layer, (a, b) = attributes_of(call).layer, call.args
    of_a = operator("float_mul", gradient, b, layer=layer)
    if isinstance(b, ir.GenericConst):
        return _rest(call, [of_a])
    of_b = builder.emit(operator("float_mul", gradient, a, layer=layer))
    return [of_a, _of_rows(of_b, b, layer, builder)]


def _transpose(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    attrs = attributes_of(call)
    axes = tuple(int(axis) for axis in np.argsort(attrs.axes))
    return [operator("transpose", gradient, axes=axes, layer=attrs.layer)]


def _pool(attrs: Any) -> dict[str, Any]:
    ends = {"clamp_min": INT8_MIN, "clamp_max": INT8_MAX}
    return _window(attrs) | ends | {"size": attrs.size, "layer": attrs.layer}


def _avg_pool2d(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    fields = _pool(attributes_of(call)) | {"input_size": _size(call.args[0])}
    return [operator("avg_pool2d_gradient", gradient, **fields)]


def _max_pool2d(
    var: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    fields = _pool(attributes_of(call)) | {"input_size": _size(call.args[0])}
    return [operator("max_pool2d_gradient", gradient, call.args[0], var, **fields)]


def _slices(call: ir.Call, gradient: ir.Expr, begins: Sequence[Sequence[int]]) -> list[ir.Expr]:
    """What of the gradient lies at each argument's place."""
    layer = attributes_of(call).layer
    return [
        operator(
            "slice_gradient",
            gradient,
            begin=tuple(int(b) for b in begin),
            shape=spec_of(data).shape,
            layer=layer,
        )
        for data, begin in zip(call.args, begins, strict=True)
    ]


def _pad(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return _slices(call, gradient, [attributes_of(call).before])


def _concat(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    shapes = [spec_of(data).shape for data in call.args]
    axis = attributes_of(call).axis % len(shapes[0])
    ends = np.cumsum([0, *(shape[axis] for shape in shapes[:-1])])
    begins = [[int(end) if i == axis else 0 for i in range(len(shapes[0]))] for end in ends]
    return _slices(call, gradient, begins)


def _resize(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return [operator("resize_gradient", gradient, **vars(attributes_of(call)))]


def _lookup(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    table = np.asarray(call.args[1].value.numpy(), np.float64)
    slopes = _constant(np.gradient(table))
    layer = attributes_of(call).layer
    return _rest(call, [operator("lookup_gradient", gradient, call.args[0], slopes, layer=layer)])


def _end(
    _: ir.Var, call: ir.Call, gradient: ir.Expr, _builder: relax.BlockBuilder
) -> list[ir.Expr]:
    return _rest(call, [])


RULES: dict[str, Rule] = {
    "relax.grad.no_grad": _end,
    "tiny.wide_conv2d": _wide_conv2d,
    "tiny.wide_depthwise_conv2d": _wide_depthwise_conv2d,
    "tiny.wide_add": _wide_add,
    "tiny.wide_mul": _wide_mul,
    "tiny.truncate": _truncate,
    "tiny.softmax_cross_entropy": _cross_entropy,
    "tiny.mean_squared_error": _mean_squared_error,
    "tiny.qmean": _qmean,
    "tiny.qavg_pool2d": _avg_pool2d,
    "tiny.qmax_pool2d": _max_pool2d,
    "tiny.pad": _pad,
    "tiny.concat": _concat,
    "tiny.resize": _resize,
    "tiny.lookup": _lookup,
    "tiny.float_conv2d": _float_conv2d,
    "tiny.float_clip": _float_clip,
    "tiny.float_add": _float_add,
    "tiny.float_mul": _float_mul,
    "tiny.float_concat": _concat,
    "tiny.float_pad": _pad,
    "tiny.float_resize": _resize,
    "tiny.float_avg_pool2d": _avg_pool2d,
    "tiny.float_max_pool2d": _max_pool2d,
    "tiny.transpose": _transpose,
}


def register() -> None:
    """Tell TVM the rules; again does nothing."""
    for name, rule in RULES.items():
        if ir.Op.get(name).get_attr("FPrimalGradient") is None:
            register_gradient(name, rule)
