"""How many bytes are alive while each layer runs, under rules of what may lie over what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from tvm_tiny.analysis.graph import Graph, Layer, Writes


@dataclass(frozen=True)
class InPlace:
    """What may be written over an input that nobody needs any more.

    `spare_channels` is what a depthwise convolution needs beside its input: a channel's results
    wait there until its last row is read (the papers count N + 1 channels); None: a whole output.
    `elements`: additions and functions write over their operand.
    `fused_additions`: the convolution that ends a residual block adds as it writes, over the
    block's input, so its own result never exists.
    """

    spare_channels: int | None = 1
    elements: bool = True
    fused_additions: bool = True


NOTHING = InPlace(spare_channels=None, elements=False, fused_additions=False)
MERGEABLE = ("add", "subtract")
NOWHERE = -1  # the "producer" of inputs


def live_bytes(graph: Graph, rules: InPlace) -> list[int | None]:
    """Bytes while each layer runs: inputs, output and what others still need.

    None for an addition that the convolution before it has done.
    """
    layers: list[Layer | None] = list(graph.layers)
    if rules.fused_additions:
        layers = _merged(graph)
    last = _last_uses(graph, layers)
    sizes = [tensor.nbytes for tensor in graph.tensors]
    live = sum(sizes[tensor] for tensor in set(graph.inputs) if tensor in last)
    counts: list[int | None] = []
    for index, layer in enumerate(layers):
        if layer is None:
            counts.append(None)
            continue
        dying = {tensor for tensor in layer.inputs if last[tensor] == index}
        live += sizes[layer.output]
        counts.append(live - _saved(graph, layer, dying, rules))
        live -= sum(sizes[tensor] for tensor in dying)
        if layer.output not in last:
            live -= sizes[layer.output]
    return counts


def _last_uses(graph: Graph, layers: list[Layer | None]) -> dict[int, int]:
    """Tensor -> the last layer that reads it; outputs outlive them all."""
    last = {
        tensor: index
        for index, layer in enumerate(layers)
        if layer is not None
        for tensor in layer.inputs
    }
    return last | dict.fromkeys(graph.outputs, len(layers))


def _saved(graph: Graph, layer: Layer, dying: set[int], rules: InPlace) -> int:
    """Bytes that the output does not need, as it lies over an input."""
    output = graph.tensors[layer.output]
    room = [graph.tensors[tensor].nbytes for tensor in dying.difference(layer.shares_nothing_with)]
    if not room:
        return 0
    if layer.writes is Writes.BY_CHANNEL and rules.spare_channels is not None:
        spare = rules.spare_channels * output.rows * output.columns * output.element_bytes
        return max(0, min(max(room), output.nbytes) - spare)
    if layer.writes is Writes.BY_ELEMENT and rules.elements:
        return output.nbytes if max(room) >= output.nbytes else 0
    return 0


def _merged(graph: Graph) -> list[Layer | None]:
    """Layers with additions moved into the convolutions that make their later operand."""
    layers: list[Layer | None] = list(graph.layers)
    made = {layer.output: index for index, layer in enumerate(graph.layers)}
    readers = Counter(tensor for layer in graph.layers for tensor in set(layer.inputs))
    readers.update(graph.outputs)
    for index, layer in enumerate(graph.layers):
        if layer.operator not in MERGEABLE or len(set(layer.inputs)) != 2:
            continue
        producer = max(made.get(tensor, NOWHERE) for tensor in layer.inputs)
        before = None if producer == NOWHERE else layers[producer]
        if before is not None and _can_add(before, readers):
            layers[producer], layers[index] = _with_addition(before, layer), None
    return layers


def _can_add(layer: Layer, readers: Counter[int]) -> bool:
    """Whether it is a convolution that writes its result once, for one reader."""
    is_plain = layer.is_convolution and layer.writes is Writes.ANYHOW
    return is_plain and readers[layer.output] == 1


def _with_addition(convolution: Layer, addition: Layer) -> Layer:
    """The convolution as it adds the other operand, over which it may write."""
    others = tuple(t for t in addition.inputs if t != convolution.output)
    return replace(
        convolution,
        inputs=(*convolution.inputs, *others),
        output=addition.output,
        writes=Writes.BY_ELEMENT,
        shares_nothing_with=convolution.inputs,
    )
