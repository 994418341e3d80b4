"""`memory`: peak, multiply-accumulates and parameters of a model, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    output_bytes: int  # the stage's results, whole, and inputs that layers behind it read
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
        macs=sum(layer.macs for layer in graph.layers),
        parameters=sum(layer.parameters for layer in graph.layers),
        weights=sum(layer.weights for layer in graph.layers),
        peak_bytes=peak,
        peak_layer=at,
        peak_in_place_bytes=peak_in_place,
        peak_in_place_layer=at_in_place,
        layers=tuple(_layers(graph, names, separate, over)),
        patched=None if patch is None else patch_memory(graph, _patch_of(patch), rules),
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
        return _nbytes(graph, set(graph.inputs)), ""
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
                name=names[index],
                operator=layer.operator,
                output=(size.rows, size.columns, size.channels),
                macs=layer.macs,
                parameters=layer.parameters,
                is_convolution=layer.is_convolution,
                live_bytes=separate[index] or 0,
                in_place_bytes=over[index],
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
    grid = Patch(len(grids[ROWS]), len(grids[COLUMNS]), patch.split)
    full = [patches.largest(graph, end, axis, tiles[0].length) for axis, tiles in grids.items()]
    buffers = [patches.buffered(graph, end, axis, full[axis]) for axis in grids]
    work = [patches.computed(graph, axis, full[axis]) for axis in grids]
    clipped = [patches.clipped_total(graph, end, axis, tiles) for axis, tiles in grids.items()]
    kept = {*stage.outputs, *set(rest.inputs).intersection(graph.inputs)}
    image = stage.inputs[0]
    return PatchMemory(
        patch=grid,
        last_layer=graph.tensors[graph.layers[end - 1].output].name,
        input_patch=(full[ROWS][image], full[COLUMNS][image]),
        stage_macs=sum(layer.macs for layer in stage.layers),
        stage_macs_full=patches.macs_of(graph, end, *work) * grid.rows * grid.columns,
        stage_macs_clipped=patches.macs_of(graph, end, *clipped),
        macs=sum(layer.macs for layer in graph.layers),
        patch_bytes=_largest(live_bytes(patches.tile_graph(graph, end, *buffers), rules)),
        output_bytes=_nbytes(graph, kept),
        image_bytes=_nbytes(graph, set(stage.inputs).difference(kept)),
        rest_bytes=_largest(live_bytes(rest, rules)),
    )


def _largest(counts: Sequence[int | None]) -> int:
    return max((count for count in counts if count is not None), default=0)


def _nbytes(graph: Graph, tensors: Iterable[int]) -> int:
    return sum(graph.tensors[index].nbytes for index in tensors)
