"""Patch by patch: which part of every tensor a patch of the stage's output needs.

A stage is the first layers of a graph, run once for each patch of its output. A layer's patch is
found from its readers' by `t -> (t - 1) * stride + kernel`; rows and columns are independent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tvm_tiny.analysis.graph import Graph, Layer, Tensor
from tvm_tiny.errors import InputError, ModelError

ROWS, COLUMNS = 0, 1
ELEMENTWISE_AFTER = ("add", "subtract", "multiply")


@dataclass(frozen=True)
class Span:
    """Positions first <= i < last along one axis."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.last - self.first

    def hull(self, other: Span | None) -> Span:
        """The smallest span that holds both."""
        if other is None:
            return self
        return Span(min(self.first, other.first), max(self.last, other.last))

    def clipped(self, length: int) -> Span:
        """What of it lies inside 0 <= i < length."""
        first = min(max(self.first, 0), length)
        return Span(first, max(first, min(self.last, length)))


@dataclass(frozen=True)
class Patch:
    """A grid of patches over the output of the first `split` convolutions.

    Additions that directly follow the last of them belong to the stage.
    """

    rows: int
    columns: int
    split: int

    def __str__(self) -> str:
        """As the command line has it."""
        return f"{self.rows}x{self.columns}@{self.split}"

    @classmethod
    def parse(cls, text: str) -> Patch:
        """Read ROWSxCOLUMNS@SPLIT; raises InputError."""
        found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)@([1-9]\d*)", text.strip())
        if found is None:
            raise InputError(
                f"{text!r} is not a patch", hint="write ROWSxCOLUMNS@SPLIT, such as 4x4@8"
            )
        return cls(*map(int, found.groups()))


def stage_end(graph: Graph, split: int) -> int:
    """The number of layers in a stage of `split` convolutions; raises ModelError if impossible."""
    found = [index for index, layer in enumerate(graph.layers) if layer.is_convolution]
    if not 1 <= split <= len(found):
        raise ModelError(
            "a stage must have some of the model's convolutions",
            limit=f"1 to {len(found)}",
            found=split,
        )
    end = found[split - 1] + 1
    known = {tensor for layer in graph.layers[:end] for tensor in (*layer.inputs, layer.output)}
    while end < len(graph.layers) and _belongs(graph.layers[end], known):
        known.add(graph.layers[end].output)
        end += 1
    _check_windows(graph, end)
    _check_outputs(graph, end)
    return end


def _belongs(layer: Layer, known: set[int]) -> bool:
    """Whether a layer behind the last convolution only combines pixels of the stage."""
    return layer.operator in ELEMENTWISE_AFTER and known.issuperset(layer.inputs)


def _check_windows(graph: Graph, end: int) -> None:
    for layer in graph.layers[:end]:
        size = graph.tensors[layer.output]
        sources = [graph.tensors[index] for index in layer.inputs]
        if layer.window is None or not all(_fits(source, size, layer) for source in sources):
            raise ModelError(
                f"{layer.operator} needs its whole input, so no patches can run through it",
                where=size.name,
                hint="split before this layer",
            )


def _check_outputs(graph: Graph, end: int) -> None:
    """All results of a stage have one grid of patches."""
    results = [graph.tensors[index] for index in graph.part(0, end).outputs]
    if len({(tensor.rows, tensor.columns) for tensor in results}) > 1:
        sizes = ", ".join(f"{tensor.name} {tensor.rows}x{tensor.columns}" for tensor in results)
        raise ModelError(
            f"results of the stage differ in size: {sizes}", hint="split behind the branch"
        )


def _fits(source: Tensor, output: Tensor, layer: Layer) -> bool:
    """Whether the window leads from one size to the other (not so where operands broadcast)."""
    assert layer.window is not None
    return layer.window.output_size((source.rows, source.columns)) == (output.rows, output.columns)


def spans(graph: Graph, end: int, axis: int, tile: Span, clip: bool) -> list[Span | None]:
    """What a patch `tile` of the stage's outputs needs of each tensor; None: nothing.

    With `clip`, positions outside the tensors are left out, as they are known to be zero.
    """
    stage = graph.part(0, end)
    needed: list[Span | None] = [None] * len(graph.tensors)
    for tensor in stage.outputs:
        needed[tensor] = _own(graph, tensor, axis, tile, clip)
    for layer in reversed(stage.layers):
        span, window = needed[layer.output], layer.window
        if span is None or window is None:
            continue
        first = span.first * window.strides[axis] - window.padding[axis]
        last = (span.last - 1) * window.strides[axis] - window.padding[axis] + window.kernel[axis]
        for tensor in layer.inputs:
            source = _own(graph, tensor, axis, Span(first, last), clip)
            needed[tensor] = source.hull(needed[tensor])
    return needed


def _own(graph: Graph, tensor: int, axis: int, span: Span, clip: bool) -> Span:
    return span.clipped(extent(graph.tensors[tensor], axis)) if clip else span


def extent(tensor: Tensor, axis: int) -> int:
    """Rows or columns."""
    return tensor.columns if axis == COLUMNS else tensor.rows


def tiles(length: int, count: int) -> list[Span]:
    """`count` equal patches along an axis; the last one is smaller, or some are left out."""
    size = -(-length // count)
    return [Span(first, min(first + size, length)) for first in range(0, length, size)]


def largest(graph: Graph, end: int, axis: int, tile: int) -> list[int]:
    """Extent of every tensor in a patch of full size, as if the tensors had no ends."""
    return [span.length if span else 0 for span in spans(graph, end, axis, Span(0, tile), False)]


def buffered(graph: Graph, end: int, axis: int, lengths: Sequence[int]) -> list[int]:
    """The same as buffers: with the zeros that a border consists of, but nothing beyond."""
    borders = [0] * len(graph.tensors)
    for layer in graph.layers[:end]:
        border = sum(layer.window.padding[axis::2]) if layer.window else 0
        for tensor in layer.inputs:
            borders[tensor] = max(borders[tensor], border)
    return [
        min(length, extent(tensor, axis) + border)
        for length, tensor, border in zip(lengths, graph.tensors, borders, strict=True)
    ]


def computed(graph: Graph, axis: int, lengths: Sequence[int]) -> list[int]:
    """The same as what has to be computed: no more than there is."""
    return [
        min(length, extent(tensor, axis))
        for length, tensor in zip(lengths, graph.tensors, strict=True)
    ]


def clipped_total(graph: Graph, end: int, axis: int, parts: Iterable[Span]) -> list[int]:
    """Positions of every tensor that all patches along one axis compute together."""
    totals = [0] * len(graph.tensors)
    for part in parts:
        for index, span in enumerate(spans(graph, end, axis, part, True)):
            totals[index] += span.length if span else 0
    return totals


def macs_of(graph: Graph, end: int, rows: Sequence[int], columns: Sequence[int]) -> int:
    """Multiply-accumulates of a stage that computes rows x columns pixels of each tensor."""
    total = 0
    for layer in graph.layers[:end]:
        whole = graph.tensors[layer.output]
        pixels = whole.rows * whole.columns
        total += layer.macs // pixels * rows[layer.output] * columns[layer.output]
    return total


def tile_graph(graph: Graph, end: int, rows: Sequence[int], columns: Sequence[int]) -> Graph:
    """The stage as one patch runs it: tensors are patches, its outputs go straight to their place.

    An output that the stage itself reads too exists as a patch beside.
    """
    stage = graph.part(0, end)
    read = {tensor for layer in stage.layers for tensor in layer.inputs}
    resized = [
        replace(tensor, rows=rows[index], columns=columns[index])
        if index not in stage.outputs or index in read
        else replace(tensor, rows=0, columns=0)
        for index, tensor in enumerate(graph.tensors)
    ]
    return replace(stage, tensors=tuple(resized))
