"""MergeEqualChannels: of input channels that are always equal, a layer reads one.

Equal filters over the same input give equal channels, and so do equal operations on equal channels.
A convolution or dense layer behind them sums their weights on the first one, where the sums fit
int8; the others are left without weights, for DropDeadChannels to take away. Exact.

Written as a value numbering, not as rules: what is equal depends on everything before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._channels import (
    channel_constants,
    channel_count,
    is_linear,
    links_of,
    rebuilt,
)
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of


class MergeEqualChannels(GraphPass):
    """Number the channels of `main` by value, then move the weights of equal ones together."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]
        merged = _Numbering(function).merged
        return rebuilt(function, lambda var, value: merged.get(var, value)) if merged else module


class _Numbering:
    """Channels of one number have equal values; `merged` are the calls that become others."""

    def __init__(self, function: relax.Function) -> None:
        self.numbers: dict[ir.Var, list[int]] = {}
        self.merged: dict[ir.Var, ir.Call] = {}
        self._known: dict[Hashable, int] = {}
        for parameter in function.params:
            self._define(parameter, range(channel_count(parameter)))
        for block in function.body.blocks:
            for binding in block.bindings:
                if isinstance(binding.value, ir.Var):
                    self.numbers[binding.var] = self.numbers[binding.value]
                elif isinstance(binding.value, ir.Call):
                    self._define(binding.var, self._keys(binding.var, binding.value))

    def _define(self, var: ir.Var, keys: Iterable[Hashable]) -> None:
        """Channels of one key are equal; those of different variables never are."""
        here = len(self.numbers)
        self.numbers[var] = [self._known.setdefault((here, key), len(self._known)) for key in keys]

    def _keys(self, var: ir.Var, call: ir.Call) -> Iterable[Hashable]:
        """For every channel of a result all that it is computed from."""
        channels = range(channel_count(var))
        if is_linear(call):
            call = self._merge(var, call)
            arrays = [argument.value.numpy() for argument in call.args[1:]]
            return [tuple(a[c].tobytes() for a in arrays) for c in channels]
        links = links_of(call)
        if links is None:
            return channels
        parts: list[list[Hashable]] = [[] for _ in channels]
        for link in links:
            numbers, extent = self.numbers[link.operand], channel_count(link.operand)
            for source, output in zip(link.inputs.tolist(), link.outputs.tolist(), strict=True):
                # positions that became channels differ
                position = output // extent if call.op.name == "relax.reshape" else 0
                parts[output] += [numbers[source], position]
        arrays = channel_constants(call)
        return [
            (*part, *(array[..., channel].tobytes() for array in arrays))
            for channel, part in enumerate(parts)
        ]

    def _merge(self, var: ir.Var, call: ir.Call) -> ir.Call:
        """A convolution or dense layer with the weights of equal inputs moved together."""
        source, weight, *tail = call.args
        old = weight.value.numpy()
        new = _moved_together(old, self.numbers[source])
        if np.array_equal(old, new):
            return call
        operator = operator_of(call)
        assert operator is not None
        self.merged[var] = operator(attributes_of(call), source, constant(new), *tail)
        return self.merged[var]


def _moved_together(weight: Array, numbers: list[int]) -> Array:
    """Weights, input channels last, where channels of one number need as few as int8 allows."""
    weight = weight.astype(np.int64)
    readers: dict[int, list[int]] = defaultdict(list)
    for channel, number in enumerate(numbers):
        for reader in readers[number]:
            total = weight[..., reader] + weight[..., channel]
            if numerics.INT8_MIN <= total.min() and total.max() <= numerics.INT8_MAX:
                weight[..., reader], weight[..., channel] = total, 0
                break
        else:
            readers[number].append(channel)
    return weight.astype(np.int8)
