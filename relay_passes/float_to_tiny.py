"""FloatToTiny: operators of float models to `tiny.float_*`, which training derives gradients of.

A table says what each operator of Relax becomes. What multiplies or adds to channels behind a
convolution or a dense layer, as batch normalisation does, goes into its weights and bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.errors import Problem, UnsupportedError
from tvm_tiny.relay_passes._islands import NCHW_FROM_NHWC, NHWC_FROM_NCHW, four_sides, pair
from tvm_tiny.relay_passes._move_rules import repeats
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, results, tuples
from tvm_tiny.schedules.dialect import Array, spec_of
from tvm_tiny.schedules.training.gradients import operator

LARGEST = float(np.finfo(np.float32).max)  # no bound


def is_float(module: tvm.IRModule) -> bool:
    """Whether nothing in `main` is quantised."""
    names = [getattr(value.op, "name", "") for _, value in bindings(module["main"])]
    quantised = ("relax.quantize", "relax.dequantize", "tiny.")
    takes_floats = all(spec_of(p).dtype == "float32" for p in module["main"].params)
    return takes_floats and not any(name.startswith(quantised) for name in names)


class FloatToTiny(GraphPass):
    """Rewrite `main`; raises UnsupportedError listing every operator that has no such form."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = relax.transform.CanonicalizeBindings()(module)["main"]
        walk = _Walk()
        rewritten = build(
            function.params, lambda builder: walk.run(builder, function), dict(function.attrs or {})
        )
        return relax.transform.DeadCodeElimination()(rewritten)


@dataclass(frozen=True, eq=False)
class _Linear:
    """A convolution or dense layer that has not been emitted: what follows may still go into it.

    `axis` is that of the result's channels; dense layers have no `window`.
    """

    data: ir.Expr
    weight: Array  # OHWI
    bias: Array
    axis: int
    window: dict[str, Any] | None = None

    def scaled(self, factor: Array) -> _Linear:
        """Its result times a factor for each channel."""
        weight = self.weight * factor.reshape(-1, 1, 1, 1)
        return replace(self, weight=weight.astype(np.float32), bias=self.bias * factor)

    def moved(self, offset: Array) -> _Linear:
        """Its result plus an offset for each channel."""
        return replace(self, bias=(self.bias + offset).astype(np.float32))


class _Walk:
    def __init__(self) -> None:
        self.values: Values = {}
        self.linear: dict[ir.Var, _Linear] = {}
        self.name = ""

    def run(self, builder: relax.BlockBuilder, function: relax.Function) -> list[ir.Expr]:
        self.builder, self.tuples = builder, tuples(function)
        self.reads = self._reads(function)
        problems = []
        for var, value in bindings(function):
            self.name = var.name
            name = getattr(getattr(value, "op", None), "name", "relax.tuple_item")
            new = RULES.get(name, _no_rule)(self, value)
            if new is None:
                what = f"operator {name.removeprefix('relax.')} has no float form here"
                problems.append(Problem(var.name, what))
                new = var
            if isinstance(new, _Linear):
                self.linear[var] = new
            else:
                self.values[var] = new if isinstance(new, ir.Var) else self.emit(new)
        if problems:
            raise UnsupportedError("operators that cannot be trained", problems=problems)
        return [self.value(result) for result in results(function)]

    def emit(self, call: ir.Expr, suffix: str = "") -> ir.Var:
        return self.builder.emit(call, self.name + suffix)

    def value(self, expr: ir.Expr) -> ir.Expr:
        """The new form of an old value; a layer that is read becomes final."""
        layer = self.linear.pop(expr, None) if isinstance(expr, ir.Var) else None
        if layer is not None:
            reader, self.name = self.name, expr.name
            self.values[expr] = self._layer(layer)
            self.name = reader
        return self.values.get(expr, expr) if isinstance(expr, ir.Var) else expr

    def fields(self, expr: ir.Expr) -> list[ir.Expr]:
        """Of a tuple, or the expression itself."""
        expr = self.tuples.get(expr, expr) if isinstance(expr, ir.Var) else expr
        return list(expr.fields) if isinstance(expr, relax.Tuple) else [expr]

    def _reads(self, function: relax.Function) -> Counter[ir.Var]:
        """How often variables are read."""
        calls = [value for _, value in bindings(function) if isinstance(value, ir.Call)]
        arguments = [argument for call in calls for argument in call.args]
        read = [field for argument in arguments for field in self.fields(argument)]
        return Counter(v for v in (*read, *results(function)) if isinstance(v, ir.Var))

    def _layer(self, layer: _Linear) -> ir.Var:
        weight, bias = (relax.const(np.ascontiguousarray(a)) for a in (layer.weight, layer.bias))
        if layer.window is None:
            rows, depth = spec_of(layer.data).shape
            pixels = self.emit(relax.op.reshape(layer.data, (1, rows, 1, depth)), "_pixels")
            window = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
            dense = operator("float_conv2d", pixels, weight, bias, layer=self.name, **window)
            shape = (rows, len(layer.weight))
            return self.emit(relax.op.reshape(self.emit(dense, "_dense"), shape))
        return self.spatial("float_conv2d", [layer.data], layer.axis, weight, bias, **layer.window)

    def spatial(
        self, name: str, images: Sequence[ir.Expr], channel_axis: int, *rest: ir.Expr, **fields: Any
    ) -> ir.Var:
        """A call on images, in the layout that the kernels have."""
        is_nchw = channel_axis == 1
        if is_nchw:
            turned = (operator("transpose", image, axes=NHWC_FROM_NCHW) for image in images)
            images = [self.emit(image, "_nhwc") for image in turned]
        call = operator(name, *images, *rest, **fields, layer=self.name)
        if not is_nchw:
            return self.emit(call)
        return self.emit(operator("transpose", self.emit(call), axes=NCHW_FROM_NHWC))


New: TypeAlias = "ir.Expr | _Linear | None"
Rule = Callable[[_Walk, ir.Call], New]


def _no_rule(_walk: _Walk, _call: ir.Call) -> New:
    return None


def _conv2d(walk: _Walk, call: ir.Call) -> New:
    attrs, weight = call.attrs, call.args[1]
    if not isinstance(weight, ir.GenericConst) or str(attrs.data_layout) not in CHANNEL_AXES:
        return None
    layout = str(attrs.kernel_layout)
    taps = weight.value.numpy().transpose([layout.index(axis) for axis in "OHWI"])
    window = {
        "strides": pair(attrs.strides),
        "padding": four_sides(attrs.padding),
        "dilation": pair(attrs.dilation),
        "groups": int(attrs.groups),
    }
    bias = np.zeros(len(taps), np.float32)
    axis = CHANNEL_AXES[str(attrs.data_layout)]
    return _Linear(walk.value(call.args[0]), taps, bias, axis, window)


def _matmul(walk: _Walk, call: ir.Call) -> New:
    data, weight = call.args
    if not isinstance(weight, ir.GenericConst) or len(spec_of(data).shape) != 2:
        return None
    matrix = weight.value.numpy().T
    taps = matrix.reshape(len(matrix), 1, 1, -1)
    return _Linear(walk.value(data), taps, np.zeros(len(taps), np.float32), 1)


def _into_layer(walk: _Walk, call: ir.Call) -> _Linear | None:
    """Arithmetic with a constant for each channel of a layer's result, which nothing else reads."""
    first, second = call.args
    if isinstance(first, ir.GenericConst) and call.op.name in ("relax.add", "relax.multiply"):
        first, second = second, first
    layer = walk.linear.get(first) if isinstance(first, ir.Var) else None
    if layer is None or not isinstance(second, ir.GenericConst) or walk.reads[first] > 1:
        return None
    values = second.value.numpy()
    shape = [1] * len(spec_of(first).shape)
    shape[layer.axis] = len(layer.bias)
    try:
        by_channel = np.broadcast_to(values, shape).reshape(-1).astype(np.float32)
    except ValueError:
        return None
    return {
        "relax.add": lambda: layer.moved(by_channel),
        "relax.subtract": lambda: layer.moved(-by_channel),
        "relax.multiply": lambda: layer.scaled(by_channel),
        "relax.divide": lambda: layer.scaled(np.float32(1) / by_channel),
    }[call.op.name]()


def _of_two(name: str) -> Rule:
    """Arithmetic whose operands may change places."""

    def rule(walk: _Walk, call: ir.Call) -> New:
        merged = _into_layer(walk, call)
        if merged is not None:
            return merged
        first, second = call.args
        if isinstance(first, ir.GenericConst) or spec_of(first).elements < spec_of(second).elements:
            first, second = second, first
        return _with_rows(walk, name, first, second)

    return rule


def _by_constant(name: str, inverse: Callable[[Array], Array]) -> Rule:
    """What is the other arithmetic with an inverse constant."""

    def rule(walk: _Walk, call: ir.Call) -> New:
        merged = _into_layer(walk, call)
        first, second = call.args
        if merged is not None or not isinstance(second, ir.GenericConst):
            return merged
        return _with_rows(walk, name, first, relax.const(inverse(second.value.numpy())))

    return rule


def _with_rows(walk: _Walk, name: str, data: ir.Expr, row: ir.Expr) -> New:
    """Of a tensor and another of its shape, a number, or a number for each of its channels."""
    whole, part = (spec_of(expr).shape for expr in (data, row))
    rank = len(whole)
    if isinstance(data, ir.GenericConst) or len(part) > rank:
        return None
    part = (1,) * (rank - len(part)) + part
    first = next((axis for axis, extent in enumerate(part) if extent > 1), rank)
    is_last = part[first:] == whole[first:]
    if not is_last and (rank != 4 or part != (1, whole[1], 1, 1)):
        return None
    data, axis = walk.value(data), -1 if is_last else 1
    if not isinstance(row, ir.GenericConst):
        return walk.spatial(name, [data, walk.value(row)], axis)
    values = row.value.numpy().astype(np.float32).reshape(-1)
    return walk.spatial(name, [data], axis, relax.const(values))


def _relu(walk: _Walk, call: ir.Call) -> New:
    return operator("float_clip", walk.value(call.args[0]), low=0.0, high=LARGEST, layer=walk.name)


def _clip(walk: _Walk, call: ir.Call) -> New:
    bounds = [float(np.clip(float(b.value), -LARGEST, LARGEST)) for b in call.args[1:]]
    fields = dict(zip(("low", "high"), bounds, strict=True))
    return operator("float_clip", walk.value(call.args[0]), **fields, layer=walk.name)


def _pool(name: str) -> Rule:
    def rule(walk: _Walk, call: ir.Call) -> New:
        attrs, padding = call.attrs, four_sides(call.attrs.padding)
        counts_border = any(padding) and "avg" in name and bool(attrs.count_include_pad)
        if int(attrs.ceil_mode) or counts_border or str(attrs.layout) not in CHANNEL_AXES:
            return None
        fields = {
            "strides": pair(attrs.strides),
            "padding": padding,
            "dilation": pair(attrs.dilation),
            "size": pair(attrs.pool_size),
        }
        data, axis = walk.value(call.args[0]), CHANNEL_AXES[str(attrs.layout)]
        return walk.spatial(name, [data], axis, **fields)

    return rule


def _whole_image(walk: _Walk, call: ir.Call, channel_axis: int) -> ir.Var:
    shape = list(spec_of(call.args[0]).shape)
    del shape[channel_axis]
    fields = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "size": shape[1:]}
    return walk.spatial("float_avg_pool2d", [walk.value(call.args[0])], channel_axis, **fields)


def _mean(walk: _Walk, call: ir.Call) -> New:
    rank = len(spec_of(call.args[0]).shape)
    axes = tuple(sorted(int(axis) % rank for axis in call.attrs.axis or range(rank)))
    if rank != 4 or axes not in ((1, 2), (2, 3)):
        return None
    mean = _whole_image(walk, call, 3 if axes == (1, 2) else 1)
    return mean if call.attrs.keepdims else relax.op.reshape(mean, spec_of(call).shape)


def _adaptive_avg_pool2d(walk: _Walk, call: ir.Call) -> New:
    layout = str(call.attrs.layout)
    if {int(s) for s in call.attrs.output_size or (0,)} != {1} or layout not in CHANNEL_AXES:
        return None
    return _whole_image(walk, call, CHANNEL_AXES[layout])


def _softmax(walk: _Walk, call: ir.Call) -> New:
    rank = len(spec_of(call).shape)
    if int(call.attrs.axis) % rank != rank - 1:
        return None
    return operator("float_softmax", walk.value(call.args[0]), layer=walk.name)


def _concat(walk: _Walk, call: ir.Call) -> New:
    fields, shape = walk.fields(call.args[0]), spec_of(call).shape
    if not all(isinstance(field, ir.Var) for field in fields):
        return None
    axis, parts = int(call.attrs.axis or 0) % len(shape), [walk.value(f) for f in fields]
    if len(shape) == 4 and axis == 1:
        return walk.spatial("float_concat", parts, 1, axis=3)
    return operator("float_concat", *parts, axis=axis, layer=walk.name)


def _pad(walk: _Walk, call: ir.Call) -> New:
    widths, value = [int(width) for width in call.attrs.pad_width], float(call.attrs.pad_value)
    is_constant = str(call.attrs.pad_mode) == "constant" and np.isfinite(value)
    if not is_constant or len(widths) > 8 or min(widths) < 0:
        return None
    fields = {"before": tuple(widths[::2]), "after": tuple(widths[1::2]), "value": value}
    return operator("float_pad", walk.value(call.args[0]), **fields, layer=walk.name)


def _resize(walk: _Walk, call: ir.Call) -> New:
    layout = str(call.attrs.layout)
    factors = repeats(call) if layout in CHANNEL_AXES else None
    if factors is None:
        return None
    image = walk.value(call.args[0])
    return walk.spatial("float_resize", [image], CHANNEL_AXES[layout], factors=factors)


def _reshape(walk: _Walk, call: ir.Call) -> New:
    return relax.op.reshape(walk.value(call.args[0]), spec_of(call).shape)


def _transpose(walk: _Walk, call: ir.Call) -> New:
    axes = call.attrs.axes or reversed(range(len(spec_of(call).shape)))
    order = tuple(int(axis) for axis in axes)
    return operator("transpose", walk.value(call.args[0]), axes=order, layer=walk.name)


CHANNEL_AXES = {"NCHW": 1, "NHWC": 3}
RULES: dict[str, Rule] = {
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.add": _of_two("float_add"),
    "relax.subtract": _by_constant("float_add", np.negative),
    "relax.multiply": _of_two("float_mul"),
    "relax.divide": _by_constant("float_mul", lambda values: np.float32(1) / values),
    "relax.nn.relu": _relu,
    "relax.clip": _clip,
    "relax.nn.max_pool2d": _pool("float_max_pool2d"),
    "relax.nn.avg_pool2d": _pool("float_avg_pool2d"),
    "relax.nn.adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "relax.mean": _mean,
    "relax.nn.softmax": _softmax,
    "relax.concat": _concat,
    "relax.nn.pad": _pad,
    "relax.image.resize2d": _resize,
    "relax.reshape": _reshape,
    "relax.flatten": _reshape,
    "relax.squeeze": _reshape,
    "relax.expand_dims": _reshape,
    "relax.permute_dims": _transpose,
}
