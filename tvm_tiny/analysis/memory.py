"""`memory`: peak, multiply-accumulates and parameters of a model, in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvm_tiny.analysis import patches
from tvm_tiny.analysis.graph import Graph
from tvm_tiny.analysis.live_bytes import NOTHING, InPlace, live_bytes
from tvm_tiny.analysis.patches import COLUMNS, ROWS, Patch
from tvm_tiny.errors import InputError


@dataclass(frozen=True)
class LayerMemory:
    """One layer; bytes are all that is alive while it runs.

    `in_place_bytes` is None for an addition that the convolution before it does.
    """

    name: str
    operator: str
    output: tuple[int, int, int]  # rows, columns, channels
    macs: int
    parameters: int
    is_convolution: bool  # counts in a patch's split
    live_bytes: int
    in_place_bytes: int | None


@dataclass(frozen=True)
class PatchMemory:
    """A model whose first layers run patch by patch.

    Two counters of multiply-accumulates: `full` as if every patch had the full size, `clipped`
    without what lies outside the tensors. Bytes are in place, `image_bytes` (the whole input of
    the stage) left out unless the name says otherwise.
    """

    patch: Patch
    last_layer: str
    input_patch: tuple[int, int]
    stage_macs: int  # layer by layer
    stage_macs_full: int
    stage_macs_clipped: int
    macs: int  # of the whole model, layer by layer
    patch_bytes: int  # all that is alive of one patch
    output_bytes: int  # the stage's results, whole
    image_bytes: int
    rest_bytes: int  # peak of the layers behind the stage

    @property
    def macs_full(self) -> int:
        """Of the whole model, with patches of full size."""
        return self.macs - self.stage_macs + self.stage_macs_full

    @property
    def macs_clipped(self) -> int:
        """Of the whole model, without what lies outside the tensors."""
        return self.macs - self.stage_macs + self.stage_macs_clipped

    @property
    def stage_bytes(self) -> int:
        """While the stage runs: a patch and the results."""
        return self.patch_bytes + self.output_bytes

    @property
    def peak_bytes(self) -> int:
        """Of the whole model."""
        return max(self.stage_bytes, self.rest_bytes)

    @property
    def peak_with_image_bytes(self) -> int:
        """Of the whole model, where the image lies in memory while the stage runs."""
        return max(self.stage_bytes + self.image_bytes, self.rest_bytes)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "patch": str(self.patch),
            "last_layer": self.last_layer,
            "input_patch": list(self.input_patch),
            "stage_macs": self.stage_macs,
            "stage_macs_full": self.stage_macs_full,
            "stage_macs_clipped": self.stage_macs_clipped,
            "macs_full": self.macs_full,
            "macs_clipped": self.macs_clipped,
            "patch_bytes": self.patch_bytes,
            "output_bytes": self.output_bytes,
            "image_bytes": self.image_bytes,
            "rest_bytes": self.rest_bytes,
            "peak_bytes": self.peak_bytes,
            "peak_with_image_bytes": self.peak_with_image_bytes,
        }


@dataclass(frozen=True)
class MemoryReport:
    """What a model needs, counted from its shapes.

    `parameters` are all trained numbers, `weights` those that are multiplied. `patched` is there
    if patches were asked for.
    """

    macs: int
    parameters: int
    weights: int
    peak_bytes: int
    peak_layer: str
    peak_in_place_bytes: int
    peak_in_place_layer: str
    layers: tuple[LayerMemory, ...]
    patched: PatchMemory | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            **vars(self),
            "layers": [asdict(layer) for layer in self.layers],
            "patched": None if self.patched is None else self.patched.as_json(),
        }

    def __str__(self) -> str:
        """The report for people."""
        from tvm_tiny.analysis.report import render

        return render(self)


def memory(
    model: Any,
    *,
    patch: Patch | tuple[int, int, int] | None = None,
    in_place: InPlace | None = None,
    element_bytes: int | None = 1,
) -> MemoryReport:
    """Count bytes, multiply-accumulates and parameters of `model` from its shapes alone.

    `model` is a Relax module (float, quantised or of the integer dialect), a `Graph`, or an
    architecture of `tvm_tiny.zoo`. Bytes of a layer are its inputs, its output and whatever later
    layers still need; `in_place` says what may be written over a dying input. An element counts
    `element_bytes`, whatever its type; None: what its type takes.

    `patch=(rows, columns, split)` runs the layers up to the split-th convolution patch by patch.
    Raises ModelError where shapes are unknown or patches cannot be.
    """
    graph = _graph_of(model, element_bytes)
    rules = InPlace() if in_place is None else in_place
    separate, over = live_bytes(graph, NOTHING), live_bytes(graph, rules)
    names = [graph.tensors[layer.output].name for layer in graph.layers]
    peak, at = _peak(graph, separate, names)
    peak_in_place, at_in_place = _peak(graph, over, names)
    return MemoryReport(
        sum(layer.macs for layer in graph.layers),
        sum(layer.parameters for layer in graph.layers),
        sum(layer.weights for layer in graph.layers),
        peak,
        at,
        peak_in_place,
        at_in_place,
        tuple(_layers(graph, names, separate, over)),
        None if patch is None else patch_memory(graph, _patch_of(patch), rules),
    )


def _graph_of(model: Any, element_bytes: int | None) -> Graph:
    """The graph of what `memory` takes; TVM is needed for modules only."""
    if isinstance(model, Graph):
        return model
    if hasattr(model, "graph"):
        return model.graph(element_bytes or 4)
    from tvm_tiny.analysis.from_relax import graph_of

    return graph_of(model, element_bytes)


def _patch_of(patch: Patch | tuple[int, int, int]) -> Patch:
    chosen = patch if isinstance(patch, Patch) else Patch(*patch)
    if min(chosen.rows, chosen.columns) < 1:
        raise InputError("a grid has at least one patch", limit="1x1", found=str(chosen))
    return chosen


def _peak(graph: Graph, counts: Sequence[int | None], names: Sequence[str]) -> tuple[int, str]:
    """The largest count and the layer that has it; a model without layers holds its inputs."""
    known = [(count, index) for index, count in enumerate(counts) if count is not None]
    if not known:
        return sum(graph.tensors[index].nbytes for index in set(graph.inputs)), ""
    count, index = max(known, key=lambda pair: pair[0])
    return count, names[index]


def _layers(
    graph: Graph,
    names: Sequence[str],
    separate: Sequence[int | None],
    over: Sequence[int | None],
) -> list[LayerMemory]:
    rows = []
    for index, layer in enumerate(graph.layers):
        size = graph.tensors[layer.output]
        rows.append(
            LayerMemory(
                names[index],
                layer.operator,
                (size.rows, size.columns, size.channels),
                layer.macs,
                layer.parameters,
                layer.is_convolution,
                separate[index] or 0,
                over[index],
            )
        )
    return rows


def patch_memory(graph: Graph, patch: Patch, rules: InPlace) -> PatchMemory:
    """What running the first layers patch by patch would take."""
    end = patches.stage_end(graph, patch.split)
    stage, rest = graph.part(0, end), graph.part(end, len(graph.layers))
    result = graph.tensors[stage.outputs[0]]
    grids = {
        axis: patches.tiles(patches.extent(result, axis), count)
        for axis, count in ((ROWS, patch.rows), (COLUMNS, patch.columns))
    }
    full = {axis: patches.largest(graph, end, axis, grid[0].length) for axis, grid in grids.items()}
    buffers = [patches.buffered(graph, end, axis, full[axis]) for axis in grids]
    work = [patches.computed(graph, axis, full[axis]) for axis in grids]
    clipped = [patches.clipped_total(graph, end, axis, grid) for axis, grid in grids.items()]
    count = len(grids[ROWS]) * len(grids[COLUMNS])
    image = stage.inputs[0]
    tile = live_bytes(patches.tile_graph(graph, end, *buffers), rules)
    after = live_bytes(rest, rules)
    return PatchMemory(
        patch,
        graph.tensors[graph.layers[end - 1].output].name,
        (full[ROWS][image], full[COLUMNS][image]),
        sum(layer.macs for layer in stage.layers),
        patches.macs_of(graph, end, *work) * count,
        patches.macs_of(graph, end, *clipped),
        sum(layer.macs for layer in graph.layers),
        max(bytes for bytes in tile if bytes is not None),
        sum(graph.tensors[index].nbytes for index in stage.outputs),
        sum(graph.tensors[index].nbytes for index in stage.inputs),
        max((bytes for bytes in after if bytes is not None), default=0),
    )
