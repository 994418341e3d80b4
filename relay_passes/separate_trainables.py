"""SeparateTrainables: weights and biases that are to be trained become parameters of `main`.

Layers that gradients pass give 16 bits before they are clamped to int8 (`tiny.wide_*`), so that a
bit for each element can say what was clamped. The module then returns the loss, and the model's own
outputs; behind its inputs it takes what the loss compares with, the learning rate, and the states.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import tvm
from tvm import ir, relax

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes._straight_line import Values, bindings, build, moved, results
from tvm_tiny.schedules.dialect import Array, TensorSpec, attributes_of, operator_of, spec_of
from tvm_tiny.schedules.qconv2d import QConv2DAttributes
from tvm_tiny.schedules.training import gradients

LOSSES = ("softmax_cross_entropy", "mean_squared_error")
FLOAT = "tiny.float_conv2d"
WITH_WEIGHTS = ("tiny.qconv2d", "tiny.qdepthwise_conv2d", "tiny.qdense", FLOAT)
WIDE = ("tiny.qadd", "tiny.qmul")
QUANTISED = ("tiny.qsoftmax", "tiny.dequantize")
BEHIND_LOGITS = (*QUANTISED, "tiny.float_softmax", "relax.reshape")


@dataclass(frozen=True)
class LayerUpdate:
    """What a layer of a model trains: the weights of these input channels, and its bias or not.

    Channels are indices on the axis of the weight that input channels lie on; a depthwise
    convolution trains the weights of all of them if there are any.
    """

    layer: str
    weight_channels: tuple[int, ...] = ()
    bias: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether it trains anything."""
        return self.bias or bool(self.weight_channels)


@dataclass(frozen=True, eq=False)
class State:
    """A parameter of `main` that training changes: its name, its first values, its layer.

    `channels` are the indices along the last axis that change.
    """

    name: str
    initial: Array
    layer: str
    kind: str  # "weight", "bias", or what an optimizer keeps of one
    channels: tuple[int, ...] = ()

    @property
    def spec(self) -> TensorSpec:
        """Shape and dtype at run time."""
        return TensorSpec(self.initial.shape, self.initial.dtype.name)


class SeparateTrainables(GraphPass):
    """Apply to what `updates` name; `states` is filled as the pass runs."""

    def __init__(
        self,
        updates: Sequence[LayerUpdate] = (),
        loss: str = LOSSES[0],
        own_kernels: bool = True,
    ) -> None:
        """Updates of layers by name; a loss of LOSSES.

        Without `own_kernels` layers ahead of all trained ones run as those do.
        """
        if loss not in LOSSES:
            raise UnsupportedError(
                "an unknown loss", where="loss", found=loss, limit=", ".join(LOSSES)
            )
        self.updates = {update.layer: update for update in updates if update.is_trained}
        self.loss, self.own_kernels = loss, own_kernels
        self.states: list[State] = []

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        separator = _Separator(module["main"], self.updates, self.loss, self.own_kernels)
        self.states = separator.states
        return separator.module()


@dataclass
class _Separator:
    function: relax.Function
    updates: Mapping[str, LayerUpdate]
    loss: str
    own_kernels: bool
    states: list[State] = field(init=False)

    def __post_init__(self) -> None:
        self.calls = dict(bindings(self.function))
        self.states = list(self._states())
        self.variables = {
            (state.layer, state.kind): relax.Var(state.name, _type(state.spec))
            for state in self.states
        }
        self.logits, self.scale = self._logits()
        self.chain = self._chain()
        self.wide = self.chain if self.own_kernels else {*self.chain, *self._linear()}

    def module(self) -> tvm.IRModule:
        """The new module."""
        label = relax.Var("label", _type(self._label()))
        rate = relax.Var("rate", relax.TensorType((1,), "float32"))
        own = list(self.function.params)
        parameters = [*own, label, rate, *self.variables.values()]
        attrs = dict(self.function.attrs or {})
        names = [*_strings(attrs, "tiny.input_names", own), "label", "rate"]
        outputs = results(self.function)
        attrs |= {
            "tiny.input_names": names,
            "tiny.output_names": ["loss", *_strings(attrs, "tiny.output_names", outputs)],
            "tiny.states": [state.name for state in self.states],
            **_padded(attrs, "input", len(own), 0, 2),
            **_padded(attrs, "output", len(outputs), 1, 0),
        }
        return build(parameters, partial(self._body, label), attrs)

    def _body(self, label: ir.Var, builder: relax.BlockBuilder) -> list[ir.Expr]:
        values: Values = {}
        for var, value in self.calls.items():
            values[var] = self._emit(builder, var, value, values)
        logits = values[self.logits]
        fields: dict[str, Any] = dict(zip(("scale", "zero_point"), self.scale, strict=True))
        loss = builder.emit(
            gradients.operator(self.loss, logits, label, layer="loss", **fields), "loss"
        )
        return [loss, *(values.get(result, result) for result in results(self.function))]

    def _emit(
        self, builder: relax.BlockBuilder, var: ir.Var, value: ir.Expr, values: Values
    ) -> ir.Expr:
        call = moved(value, values)
        if var not in self.wide or operator_of(value) is None:
            return call if isinstance(call, ir.Var) else builder.emit(call, var.name)
        if value.op.name not in (*WITH_WEIGHTS, *WIDE):
            return builder.emit(call, var.name)
        if value.op.name == FLOAT:  # is not clamped, so has no other form
            trained = self._with_states(value, call.args)
            return builder.emit(ir.Call(call.op, trained, attrs=call.attrs), var.name)
        attrs = attributes_of(value)
        wide = builder.emit(self._wide(builder, value, call), f"{var.name}_wide")
        clamp = {"clamp_min": attrs.clamp_min, "clamp_max": attrs.clamp_max}
        truncated = gradients.operator("truncate", wide, **clamp, layer=attrs.layer)
        if value.op.name != "tiny.qdense":
            return builder.emit(truncated, var.name)
        pixels = builder.emit(truncated, f"{var.name}_pixels")
        return builder.emit(relax.op.reshape(pixels, spec_of(value).shape), var.name)

    def _wide(self, builder: relax.BlockBuilder, value: ir.Call, call: ir.Call) -> ir.Call:
        """The call that gives 16 bits, with states for what is trained."""
        attrs, name = attributes_of(value), value.op.name
        own = vars(attrs)
        if name in WIDE:
            return gradients.operator(name.replace("tiny.q", "wide_"), *call.args, **own)
        data, weight, bias, *scaling = self._with_states(value, call.args)
        if name != "tiny.qdense":
            wide = name.replace("tiny.q", "wide_")
            return gradients.operator(wide, data, weight, bias, *scaling, **own)
        rows, depth = spec_of(value.args[0]).shape
        pixels = builder.emit(relax.op.reshape(data, (1, rows, 1, depth)), "pixels")
        window: dict[str, Any] = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
        as_convolution = QConv2DAttributes(**own, **window)
        if not isinstance(weight, ir.Var):
            matrix = weight.value.numpy()
            weight = relax.const(matrix.reshape(len(matrix), 1, 1, depth))
        fields = vars(as_convolution)
        return gradients.operator("wide_conv2d", pixels, weight, bias, *scaling, **fields)

    def _with_states(self, value: ir.Call, arguments: Sequence[ir.Expr]) -> list[ir.Expr]:
        """A layer's arguments, with the states of what is trained."""
        data, weight, bias, *rest = arguments
        layer = attributes_of(value).layer
        weight = self.variables.get((layer, "weight"), weight)
        bias = self.variables.get((layer, "bias"), bias)
        return [data, weight, bias, *rest]

    def _states(self) -> list[State]:
        found: list[State] = []
        missing = dict(self.updates)
        for value in self.calls.values():
            known = operator_of(value)
            update = missing.pop(attributes_of(value).layer, None) if known else None
            if update is None:
                continue
            if value.op.name not in WITH_WEIGHTS:
                raise UnsupportedError(
                    "only convolutions and dense layers can be trained",
                    where=update.layer,
                    found=value.op.name,
                )
            found.extend(_states_of(value, update))
        if missing:
            raise UnsupportedError(
                "no layer of this name", where="update", found=next(iter(missing))
            )
        if not found:
            raise UnsupportedError("the update plan trains nothing", where="update")
        return found

    def _logits(self) -> tuple[ir.Var, tuple[float, int]]:
        """What the loss is of: the last tensor before probabilities, and its quantisation."""
        attrs = self.function.attrs or {}
        var: Any = results(self.function)[0]
        scales, points = (attrs.get(f"tiny.output_{k}", [0]) for k in ("scales", "zero_points"))
        found = (float(scales[0]), int(points[0])) if scales[0] else None
        while (value := self.calls.get(var)) is not None and value.op.name in BEHIND_LOGITS:
            if value.op.name in QUANTISED:
                own = attributes_of(value)
                found = (own.scale, getattr(own, "zero_point", 0))
            var = value.args[0]
        if found is None and spec_of(var).dtype == "float32":
            found = (1.0, 0)
        if found is None:
            raise UnsupportedError("the scale of the output is not known", where="loss")
        return var, found

    def _label(self) -> TensorSpec:
        if self.loss == "mean_squared_error":
            return TensorSpec(spec_of(self.logits).shape, "float32")
        return TensorSpec((1,), "int32")

    def _linear(self) -> Iterator[ir.Var]:
        """Results of all layers with weights."""
        for var, value in self.calls.items():
            if operator_of(value) is not None and value.op.name in WITH_WEIGHTS:
                yield var

    def _chain(self) -> set[ir.Var]:
        """Results between the first trained layer and the loss."""
        needed, queue = set(), [self.logits]
        while queue:
            var = queue.pop()
            if var in self.calls and var not in needed:
                needed.add(var)
                queue.extend(a for a in self.calls[var].args if isinstance(a, ir.Var))
        chain: set[ir.Var] = set()
        for var, value in self.calls.items():
            is_trained = operator_of(value) and attributes_of(value).layer in self.updates
            if is_trained or any(argument in chain for argument in value.args):
                chain.add(var)
        chain &= needed
        for value in (self.calls[var] for var in chain):
            known = operator_of(value)
            name = value.op.name
            shapes = {spec_of(a).shape for a in value.args if name in WIDE}
            has_gradient = name in (*WITH_WEIGHTS, *WIDE) or name in gradients.RULES
            if known and (not has_gradient or len(shapes) > 1):
                found = f"{name} of {len(shapes)} shapes" if has_gradient else name
                raise UnsupportedError(
                    "no gradient for this operator", where=attributes_of(value).layer, found=found
                )
        return chain


def _states_of(call: ir.Call, update: LayerUpdate) -> list[State]:
    weight, bias = (argument.value.numpy() for argument in call.args[1:3])
    stem = re.sub(r"\W+", "_", update.layer).strip("_")
    found = []
    if update.weight_channels:
        if call.op.name == "tiny.qdense":
            weight = weight.reshape(len(weight), 1, 1, -1)
        is_depthwise = call.op.name == "tiny.qdepthwise_conv2d"
        every = tuple(range(weight.shape[-1]))
        channels = every if is_depthwise else update.weight_channels
        if not set(channels) <= set(every):
            raise UnsupportedError(
                "input channels that the layer does not have",
                where=update.layer,
                limit=len(every),
                found=max(channels),
            )
        found.append(State(f"{stem}_weight", weight, update.layer, "weight", channels))
    if update.bias:
        found.append(State(f"{stem}_bias", bias, update.layer, "bias"))
    return found


def _type(spec: TensorSpec) -> relax.TensorType:
    return relax.TensorType(spec.shape, spec.dtype)


def _strings(attrs: Mapping[str, Any], key: str, variables: Sequence[ir.Expr]) -> list[str]:
    return [str(name) for name in attrs.get(key, [var.name for var in variables])]


def _padded(
    attrs: Mapping[str, Any], kind: str, count: int, before: int, behind: int
) -> dict[str, list[Any]]:
    """Scales and zero points of ports, with none for those that training adds."""
    padded = {}
    for key in (f"tiny.{kind}_scales", f"tiny.{kind}_zero_points"):
        own = list(attrs.get(key, [0.0 if "scales" in key else 0] * count))
        fill = 0.0 if "scales" in key else 0
        padded[key] = [fill] * before + own + [fill] * behind
    return padded
