"""DropDeadChannels: channels that no result needs leave the graph.

A channel is dead where every convolution and dense layer behind it can do without: its weights
there are zero, or no input can change what it adds to their sums, which then goes into the bias.
What becomes known because of that is known too, across every operator (see _bounds.py), and a
channel whose readers are all dead is dead as well. Where a known channel adds something else at
the border of a padded layer than inside, it stays. Exact.

Written as one dataflow analysis, not as rules: whether a channel may go depends on all readers, and
whether these need it depends on which of their own results are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import ir, relax

from tvm_tiny.relay_passes._bounds import Bounds, bounds_of
from tvm_tiny.relay_passes._channels import ChannelGraph, cut_channels, rebuilt
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass
from tvm_tiny.schedules.dialect import Array, attributes_of, operator_of, spec_of
from tvm_tiny.schedules.window import patches

GRANULE = 4  # channels that kernels handle together: a remainder would cost as much
LARGEST_SUM = (1 << 31) - 1


class DropDeadChannels(GraphPass):
    """Analyse `main`, then rebuild it without the channels that may go."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        function = module["main"]
        cut = _Cut.of(ChannelGraph(function), bounds_of(function))
        return rebuilt(function, cut.rebuild) if cut.gone.any() else module


@dataclass(frozen=True)
class _Reader:
    """What each input channel of a convolution or dense layer adds to each of its sums.

    Both are (input channels, sums): `may_go` where the channel adds the same at every position, and
    that `addend`.
    """

    may_go: Array
    addend: Array

    @staticmethod
    def of(call: ir.Call, bounds: Bounds) -> _Reader:
        weight, bias = (argument.value.numpy() for argument in call.args[1:3])
        taps = np.moveaxis(weight, -1, 0).reshape(weight.shape[-1], len(weight), -1)
        may_go = ~taps.any(axis=-1)
        addend = np.zeros(may_go.shape, np.int64)
        for channel in bounds.known_channels:
            sums = _windows(call, bounds.low[..., [channel]]) @ taps[channel].astype(np.int64).T
            may_go[channel] = (sums == sums[0]).all(axis=0)
            addend[channel] = np.where(may_go[channel], sums[0], 0)
        addend <<= attributes_of(call).fraction_bits
        is_in_reach = np.abs(bias.astype(np.int64)) + np.abs(addend).sum(axis=0) <= LARGEST_SUM
        return _Reader(may_go & (is_in_reach | (addend == 0)), addend)


def _windows(call: ir.Call, channel: Array) -> Array:
    """Differences from the zero point under each window of one channel: (windows, taps)."""
    attrs = attributes_of(call)
    if call.op.name == "tiny.qconv2d":
        _, height, width, _ = spec_of(call.args[1]).shape
        channel = patches(channel, (height, width), attrs, attrs.input_zero_point)
        channel = channel.reshape(-1, height * width)
    return channel.reshape(-1, channel.shape[-1]).astype(np.int64) - attrs.input_zero_point


@dataclass
class _Cut:
    """Which classes of channels are dead, and which of those go; the rest stays, unread."""

    graph: ChannelGraph
    readers: dict[ir.Var, _Reader]
    dead: Array
    gone: Array = field(init=False)

    @staticmethod
    def of(graph: ChannelGraph, bounds: dict[ir.Var, Bounds]) -> _Cut:
        """The largest cut that leaves every result as it is."""
        readers = {
            var: _Reader.of(call, bounds[call.args[0]]) for var, call in graph.linear_calls()
        }
        cut = _Cut(graph, readers, np.zeros(graph.size, np.bool_))
        while cut._grow():
            pass
        cut.gone = cut.dead.copy()
        for var in readers:
            cut._round_up(var)
        return cut

    def _grow(self) -> bool:
        """One round: what the results that are alive read is alive."""
        alive = np.zeros(len(self.dead), np.bool_)
        alive[self.graph.pinned] = True
        for var, reader in self.readers.items():
            read = ~reader.may_go[:, ~self._of(self.dead, var)].all(axis=1)
            alive[self.graph.classes_of(self._source(var))[read]] = True
        changed = bool((self.dead != ~alive).any())
        self.dead = ~alive
        return changed

    def _round_up(self, var: ir.Var) -> None:
        """Let dead channels stay, so that kernels work on whole tiles."""
        classes = self.graph.classes_of(var)
        stay = int((~self.gone[classes]).sum())
        missing = -stay % GRANULE if stay else GRANULE
        self.gone[classes[self.gone[classes]][:missing]] = False

    def _of(self, flags: Array, var: ir.Var) -> Array:
        return flags[self.graph.classes_of(var)]

    def _source(self, var: ir.Var) -> ir.Var:
        return self.graph.values[var].args[0]

    # Rebuilding

    def rebuild(self, var: ir.Var, value: ir.Expr) -> ir.Expr:
        """A value without the channels that go, on either side."""
        if not isinstance(value, ir.Call):
            return value
        kept = np.flatnonzero(~self._of(self.gone, var))
        if value.op.name == "relax.reshape":
            return relax.op.reshape(value.args[0], (*spec_of(value).shape[:-1], len(kept)))
        operator = operator_of(value)
        if var in self.readers:
            arguments = self._cut_linear(var, value, kept)
        elif operator is None or len(kept) == spec_of(value).shape[-1]:
            return value
        else:
            arguments = cut_channels(value, kept)
        assert operator is not None
        return operator(attributes_of(value), *arguments)

    def _cut_linear(self, var: ir.Var, call: ir.Call, kept: Array) -> list[ir.Expr]:
        """Arguments of a convolution or dense layer; what its dead inputs add is in its bias."""
        dead_inputs, dead_outputs = (self._of(self.dead, v) for v in (call.args[0], var))
        weight, bias, *scale = (argument.value.numpy().copy() for argument in call.args[1:])
        bias = bias + self.readers[var].addend[dead_inputs].sum(axis=0)
        weight[..., dead_inputs] = 0
        weight[dead_outputs], bias[dead_outputs] = 0, 0
        weight = weight[kept][..., ~self._of(self.gone, call.args[0])]
        arrays = [weight, bias[kept].astype(np.int32), *(array[kept] for array in scale)]
        return [call.args[0], *(constant(np.ascontiguousarray(array)) for array in arrays)]
