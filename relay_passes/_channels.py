"""Which channels of a function's tensors are one: the channel graph, and cutting channels out.

Channels are indices of the last axis. Operators that treat every channel alone hand them on: a
channel of their result goes exactly when it goes from their operands. Convolutions and dense
layers begin and end such runs; whatever is neither holds on to all its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of, spec_of

LINEAR = ("tiny.qconv2d", "tiny.qdense")
DEPTHWISE = "tiny.qdepthwise_conv2d"


@dataclass(frozen=True)
class Link:
    """Channel `inputs[i]` of an operand is channel `outputs[i]` of the result."""

    operand: ir.Var
    inputs: Array
    outputs: Array


def is_linear(value: ir.Expr) -> bool:
    """Whether a call sums over all its input channels."""
    if operator_of(value) is None or value.op.name not in LINEAR:
        return False
    is_grouped = getattr(attributes_of(value), "groups", 1) != 1
    return isinstance(value.args[0], ir.Var) and not is_grouped


def links_of(call: ir.Call) -> list[Link] | None:
    """How an operator hands on channels, None if it mixes them."""
    operands = [argument for argument in call.args if isinstance(argument, ir.Var)]
    if not _keeps_channels_apart(call):
        return None
    count = channel_count(call)
    extents = [channel_count(operand) for operand in operands]
    if call.op.name == "tiny.concat" and _is_last(call, attributes_of(call).axis):
        starts = accumulate([0, *extents[:-1]])
        return [
            Link(operand, np.arange(extent), start + np.arange(extent))
            for operand, extent, start in zip(operands, extents, starts, strict=True)
        ]
    outputs = np.arange(count)
    if call.op.name == DEPTHWISE:
        return [Link(operands[0], outputs // (count // extents[0]), outputs)]
    return [Link(o, outputs % extent, outputs) for o, extent in zip(operands, extents, strict=True)]


def _keeps_channels_apart(call: ir.Call) -> bool:
    rule = APART.get(call.op.name)
    return rule is not None and rule(call)


def channel_count(expr: ir.Expr) -> int:
    """Extent of the last axis."""
    return (1, *spec_of(expr).shape)[-1]


def _is_last(call: ir.Call, axis: int) -> bool:
    return bool(axis in (-1, len(spec_of(call.args[0]).shape) - 1))


def _is_not_broadcast(call: ir.Call) -> bool:
    """Every run-time operand has the result's channels."""
    operands = [argument for argument in call.args if isinstance(argument, ir.Var)]
    return all(channel_count(operand) == channel_count(call) for operand in operands)


def _has_plain_last_axis(call: ir.Call) -> bool:
    attrs = attributes_of(call)
    return bool(attrs.before[-1] == attrs.after[-1] == 0)


APART: dict[str, Callable[[ir.Call], bool]] = {
    DEPTHWISE: lambda call: True,
    "tiny.qavg_pool2d": lambda call: True,
    "tiny.qmax_pool2d": lambda call: True,
    "tiny.resize": lambda call: True,
    "tiny.lookup": lambda call: True,
    "tiny.concat": lambda call: True,
    "tiny.qadd": _is_not_broadcast,
    "tiny.qmul": _is_not_broadcast,
    "tiny.pad": _has_plain_last_axis,
    "tiny.qmean": lambda call: not any(_is_last(call, a) for a in attributes_of(call).axes),
    "tiny.transpose": lambda call: _is_last(call, attributes_of(call).axes[-1]),
    # also where positions become channels: those of each position follow one another
    "relax.reshape": lambda call: channel_count(call) % channel_count(call.args[0]) == 0,
}


class ChannelGraph:
    """Every channel of every variable belongs to one class; a class goes as a whole."""

    def __init__(self, function: relax.Function) -> None:
        self.values: dict[ir.Var, ir.Expr] = {}
        self._starts: dict[ir.Var, int] = {}
        self._parents: list[int] = []  # a forest; classes are its roots
        self._pinned: list[int] = []
        for parameter in function.params:
            self._define(parameter)
            self._pin(parameter)
        for block in function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        self._pin(function.body.body)

    @property
    def size(self) -> int:
        """No class is this number or above."""
        return len(self._parents)

    @property
    def pinned(self) -> list[int]:
        """Classes that have to stay: of inputs, outputs, and operators that mix channels."""
        return sorted({self._root(channel) for channel in self._pinned})

    def classes_of(self, var: ir.Var) -> Array:
        """The class of every channel of a variable."""
        start = self._starts[var]
        return np.array([self._root(start + i) for i in range(channel_count(var))])

    def linear_calls(self) -> list[tuple[ir.Var, ir.Call]]:
        """Convolutions and dense layers with the variables that hold their results."""
        return [(var, value) for var, value in self.values.items() if is_linear(value)]

    def _bind(self, var: ir.Var, value: ir.Expr) -> None:
        self.values[var] = value
        if isinstance(value, relax.Tuple):
            for part in value.fields:
                self._pin(part)
            return
        self._define(var)
        if isinstance(value, ir.Var):
            self._unite(var, Link(value, *[np.arange(channel_count(var))] * 2))
        elif not is_linear(value):
            self._hand_on(var, value)

    def _hand_on(self, var: ir.Var, call: ir.Call) -> None:
        links = links_of(call)
        for link in links or ():
            self._unite(var, link)
        if links is None:
            for mixed in (var, *call.args):
                self._pin(mixed)

    def _define(self, var: ir.Var) -> None:
        start = self._starts[var] = len(self._parents)
        self._parents += range(start, start + channel_count(var))

    def _unite(self, var: ir.Var, link: Link) -> None:
        result, operand = self._starts[var], self._starts[link.operand]
        for output, source in zip(link.outputs.tolist(), link.inputs.tolist(), strict=True):
            self._parents[self._root(result + output)] = self._root(operand + source)

    def _root(self, channel: int) -> int:
        while self._parents[channel] != channel:
            self._parents[channel] = channel = self._parents[self._parents[channel]]
        return channel

    def _pin(self, expr: ir.Expr) -> None:
        if isinstance(expr, ir.Var) and expr in self._starts:
            start = self._starts[expr]
            self._pinned += range(start, start + channel_count(expr))


# Cutting


def cut_channels(call: ir.Call, kept: Array) -> list[ir.Expr]:
    """Arguments of an operator that keeps channels apart, for those of its result that stay."""
    return [
        constant(np.ascontiguousarray(argument.value.numpy()[..., kept]))
        if _has_channels(call, argument)
        else argument
        for argument in call.args
    ]


def channel_constants(call: ir.Call) -> list[Array]:
    """Constants whose last axis is the channels, of an operator that keeps channels apart."""
    return [argument.value.numpy() for argument in call.args if _has_channels(call, argument)]


def _has_channels(call: ir.Call, argument: ir.Expr) -> bool:
    if not isinstance(argument, ir.GenericConst) or call.op.name == "tiny.lookup":
        return False
    shape = argument.value.numpy().shape
    return bool(shape) and shape[-1] == channel_count(call)


Rebuild = Callable[[ir.Var, ir.Expr], ir.Expr]


def rebuilt(function: relax.Function, rebuild: Rebuild) -> tvm.IRModule:
    """The function with every bound value as `rebuild(var, value)` gives it, over old variables."""
    builder = relax.BlockBuilder()
    new: dict[ir.Var, ir.Expr] = {}
    attrs = {**dict(function.attrs or {}), "global_symbol": "main"}
    with builder.function("main", list(function.params), attrs=attrs):
        with builder.dataflow():
            for block in function.body.blocks:
                for binding in block.bindings:
                    value = _substitute(rebuild(binding.var, binding.value), new)
                    new[binding.var] = builder.emit(value, name_hint=binding.var.name)
            result = builder.emit_output(new.get(function.body.body, function.body.body))
        builder.emit_func_output(result)
    cleaned = tvm.IRModule({"main": builder.finalize()["main"]})
    return relax.transform.DeadCodeElimination()(cleaned)


def _substitute(value: ir.Expr, new: Mapping[ir.Var, ir.Expr]) -> ir.Expr:
    if isinstance(value, relax.Tuple):
        return relax.Tuple([new.get(part, part) for part in value.fields])
    if not isinstance(value, ir.Call):
        return new.get(value, value) if isinstance(value, ir.Var) else value
    arguments = [new.get(a, a) if isinstance(a, ir.Var) else a for a in value.args]
    return ir.Call(value.op, arguments, value.attrs, value.ty_args)
