"""DropConstantChannels: channels of one known value leave the graph, folded into the next biases.

A channel that no input can change still costs its multiply-accumulates, its bytes, and a column of
the next layer's weights. Where every reader can do without it, it goes: convolutions fold
(value - zero_point) * weights into their bias, depthwise convolutions lose the channel on both
sides. A padded convolution can only do so for channels at its zero point, since the border reads
zero_point where the channel reads its value. Exact.

Written as one dataflow analysis, not as rules: whether a channel may go depends on all readers, and
what becomes constant depends on what went before.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.relay_passes.fold_constant_channels import constant_values
from tvm_tiny.schedules import requantization
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of, spec_of

GRANULE = 4  # channels that kernels handle together: a remainder would cost as much
CONVOLUTION, DEPTHWISE = "tiny.qconv2d", "tiny.qdepthwise_conv2d"


class DropConstantChannels(GraphPass):
    """Analyse `main`, then rebuild it without the channels that may go."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]
        graph = _Graph.of(function)
        keep = graph.kept()
        if not keep:
            return module
        return relax.transform.DeadCodeElimination()(
            tvm.IRModule({"main": _rebuild(function, graph, keep)})
        )


Known = dict[int, int]  # channel -> its one value


@dataclass
class _Graph:
    """Calls by variable, their readers, and the constant channels of their results."""

    calls: dict[ir.Var, ir.Call] = field(default_factory=dict)
    readers: dict[ir.Var, list[ir.Var | None]] = field(default_factory=lambda: defaultdict(list))
    known: dict[ir.Var, Known] = field(default_factory=dict)

    @staticmethod
    def of(function: relax.Function) -> _Graph:
        """Analyse a function in the order of its bindings."""
        graph = _Graph()
        for block in function.body.blocks:
            for binding in block.bindings:
                graph._add(binding.var, binding.value)
        graph.readers[function.body.body].append(None)  # the caller needs every channel
        return graph

    def _add(self, var: ir.Var, value: ir.Expr) -> None:
        is_operator = operator_of(value) is not None
        arguments = value.args if isinstance(value, ir.Call) else getattr(value, "fields", [value])
        for argument in arguments:
            if isinstance(argument, ir.Var):
                self.readers[argument].append(var if is_operator else None)
        if is_operator:
            self.calls[var] = value
            self.known[var] = self._constants(value)

    def name(self, var: ir.Var | None) -> str:
        """Operator that computes a variable."""
        return self.calls[var].op.name if var in self.calls else ""

    def foldable(self, reader: ir.Var, known: Known) -> Known:
        """Constant input channels that a convolution can take into its bias."""
        attrs = attributes_of(self.calls[reader])
        if self.name(reader) != CONVOLUTION or attrs.groups != 1:
            return {}
        zero_point = attrs.input_zero_point
        return {c: v for c, v in known.items() if not attrs.is_padded or v == zero_point}

    def _constants(self, call: ir.Call) -> Known:
        if call.op.name not in (CONVOLUTION, DEPTHWISE):
            return {}
        inputs = self.known.get(call.args[0], {})
        if call.op.name == CONVOLUTION:
            is_grouped = attributes_of(call).groups != 1
            arrays, axis = _fold_inputs(call, {} if is_grouped else _usable(call, inputs)), 0
        else:
            arrays, axis = _depthwise_with_constants(call, inputs), -1
        weight, *tail = arrays
        values = constant_values(attributes_of(call), weight, axis, tail)
        return {channel: value for channel, value in enumerate(values) if value is not None}

    # Which channels go

    def kept(self) -> dict[ir.Var, Array]:
        """For every result that loses channels, the indices of those that stay."""
        removable = {var: set(known) for var, known in self.known.items() if known}
        while self._shrink(removable):
            pass
        kept = {}
        for var, channels in removable.items():
            count = spec_of(var).shape[-1]
            stay = [c for c in range(count) if c not in channels]
            # Rounded up with channels that could have gone, so that kernels stay on whole tiles.
            missing = min(-len(stay) % GRANULE or (GRANULE if not stay else 0), len(channels))
            stay = sorted(stay + sorted(channels)[:missing])
            if len(stay) < count:
                kept[var] = np.array(stay)
        return self._consistent(kept)

    def _shrink(self, removable: dict[ir.Var, set[int]]) -> bool:
        """One round of striking out what a reader or a writer cannot do without."""
        changed = False
        for var in list(removable):
            allowed = set(removable[var])
            for reader in self.readers[var]:
                allowed &= self._allowed_by(reader, var, removable)
            if self.name(var) == DEPTHWISE:
                allowed &= removable.get(self.calls[var].args[0], set())
            changed |= allowed != removable[var]
            removable[var] = allowed
        return changed

    def _allowed_by(
        self, reader: ir.Var | None, var: ir.Var, removable: dict[ir.Var, set[int]]
    ) -> set[int]:
        if reader is None:
            return set()
        if self.name(reader) == DEPTHWISE and _is_plain_depthwise(self.calls[reader]):
            return removable.get(reader, set())
        return set(self.foldable(reader, self.known[var]))

    def _consistent(self, kept: dict[ir.Var, Array]) -> dict[ir.Var, Array]:
        """A depthwise convolution keeps exactly the channels of its input."""
        for var in kept:
            if self.name(var) == DEPTHWISE:
                kept[var] = kept[self.calls[var].args[0]]
        return kept


def _is_plain_depthwise(call: ir.Call) -> bool:
    return bool(call.args[1].value.numpy().shape[2] == spec_of(call.args[0]).shape[3])


def _usable(call: ir.Call, known: Known) -> Known:
    attrs = attributes_of(call)
    return {c: v for c, v in known.items() if not attrs.is_padded or v == attrs.input_zero_point}


def _arrays(call: ir.Call) -> list[Array]:
    return [argument.value.numpy() for argument in call.args[1:]]


def _fold_inputs(call: ir.Call, known: Known) -> list[Array]:
    """Weights and parameters of a convolution with constant input channels in the bias."""
    weight, bias, *scale = _arrays(call)
    channels = sorted(known)
    offsets = np.array([known[c] for c in channels], np.int64)
    offsets = offsets - attributes_of(call).input_zero_point
    taps = weight[..., channels].astype(np.int64).sum(axis=(1, 2))  # (outputs, known channels)
    total = requantization.total(taps @ offsets, bias, attributes_of(call))
    folded = np.clip(total, -(1 << 31), (1 << 31) - 1).astype(np.int32)
    weight = weight.copy()
    weight[..., channels] = 0
    return [weight, folded, *scale]


def _depthwise_with_constants(call: ir.Call, known: Known) -> list[Array]:
    """The same of a depthwise convolution, for channels whose border does not differ."""
    weight, bias, *scale = _arrays(call)
    weight, bias = weight.copy(), bias.astype(np.int64)
    if _is_plain_depthwise(call):
        zero_point = attributes_of(call).input_zero_point
        for channel, value in _usable(call, known).items():
            products = int(weight[..., channel].astype(np.int64).sum()) * (value - zero_point)
            bias[channel] += products << attributes_of(call).fraction_bits
            weight[..., channel] = 0
    return [weight, np.clip(bias, -(1 << 31), (1 << 31) - 1).astype(np.int32), *scale]


# Rebuilding


def _rebuild(function: relax.Function, graph: _Graph, kept: dict[ir.Var, Array]) -> relax.Function:
    builder = relax.BlockBuilder()
    new: dict[ir.Var, ir.Expr] = {}
    attrs = {**dict(function.attrs or {}), "global_symbol": "main"}
    with builder.function("main", list(function.params), attrs=attrs):
        with builder.dataflow():
            for block in function.body.blocks:
                for binding in block.bindings:
                    value = _sliced(binding.var, binding.value, graph, kept)
                    value = _substitute(value, new)
                    new[binding.var] = builder.emit(value, name_hint=binding.var.name)
            result = builder.emit_output(new.get(function.body.body, function.body.body))
        builder.emit_func_output(result)
    return builder.finalize()["main"]


def _substitute(value: ir.Expr, new: dict[ir.Var, ir.Expr]) -> ir.Expr:
    if isinstance(value, relax.Tuple):
        return relax.Tuple([new.get(part, part) for part in value.fields])
    if not isinstance(value, ir.Call):
        return new.get(value, value) if isinstance(value, ir.Var) else value
    arguments = [new.get(a, a) if isinstance(a, ir.Var) else a for a in value.args]
    return ir.Call(value.op, arguments, value.attrs, value.ty_args)


def _sliced(var: ir.Var, value: ir.Expr, graph: _Graph, kept: dict[ir.Var, Array]) -> ir.Expr:
    """A call without the channels that go, on either side."""
    if var not in graph.calls or graph.name(var) not in (CONVOLUTION, DEPTHWISE):
        return value
    source = value.args[0]
    inputs, outputs = kept.get(source), kept.get(var)
    if inputs is None and outputs is None:
        return value
    if graph.name(var) == DEPTHWISE:
        weight, *tail = _depthwise_with_constants(value, graph.known.get(source, {}))
        arrays = [weight[..., outputs], *[array[outputs] for array in tail]]
    else:
        gone = set(range(spec_of(source).shape[-1])) - set(() if inputs is None else inputs)
        known = graph.known.get(source, {}) if inputs is not None else {}
        arrays = _fold_inputs(value, {c: v for c, v in known.items() if c in gone})
        if inputs is not None:
            arrays[0] = arrays[0][..., inputs]
        if outputs is not None:
            arrays = [array[outputs] for array in arrays]
    operator = operator_of(value)
    assert operator is not None
    return operator(attributes_of(value), source, *[constant(array) for array in arrays])
