"""Patches as text: a loop over the parts of the output, in it the calls of layers' functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.codegen.identifiers import identifier
from tvm_tiny.relay_passes.program import Patches, PatchLayer, unique
from tvm_tiny.relay_passes.tiles import Axis, Copy, Tile
from tvm_tiny.schedules.dialect import TensorSpec


@dataclass(frozen=True)
class PatchesText:
    """The function of patches, its body a line each."""

    symbol: str
    description: str
    lines: tuple[str, ...]
    is_called_back: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What the text of patches needs to know of the rest of the program.

    Layers' functions go by outputs' names, whole tensors by their own.
    """

    callees: Mapping[str, str]
    spec: Callable[[str], TensorSpec]
    address: Callable[[str], str]
    scratch: str
    argument: str  # of layers' functions


def patches_text(patches: Patches, symbol: str, around: Surroundings) -> PatchesText:
    """Text of patches."""
    numbers = [_number(around.callees[layer.output]) for layer in patches.layers]
    grid = f"{len(patches.rows)} x {len(patches.columns)}"
    description = f"Layers {numbers[0]} to {numbers[-1]} patch by patch, {grid}"
    return PatchesText(symbol, description, tuple(_Writer(patches, around).lines()))


def _number(symbol: str) -> str:
    return symbol.partition("_layer_")[2].partition("_")[0]


class _Writer:
    def __init__(self, patches: Patches, around: Surroundings) -> None:
        self.patches, self.around = patches, around
        self.tiles = {tile.name: tile for tile in patches.tiles}
        self.names: dict[str, str] = {}
        for name in (*patches.inputs, *patches.outputs, *self.tiles):
            self.names[name] = unique(identifier(name, "t"), self.names.values())

    def lines(self) -> Iterator[str]:
        """The body of the function."""
        calls = [line for item in self.patches.work for line in self._work(item)]
        yield f"  uint8_t *const scratch = {self.around.scratch};"
        yield from (self._whole(name) for name in self._used(self._wholes(), calls))
        inner = "  "
        for variable, anchors in (("row", self.patches.rows), ("column", self.patches.columns)):
            for line in _loop(variable, anchors):
                yield inner + line
            inner += "  " if len(anchors) > 1 else ""
        yield from (inner + self._tile(name) for name in self._used(self.tiles, calls))
        yield from (inner + line for line in calls)
        while len(inner) > 2:
            inner = inner[2:]
            yield inner + "}"

    def _wholes(self) -> tuple[str, ...]:
        return (*self.patches.inputs, *self.patches.outputs)

    def _used(self, names: Sequence[str] | Mapping[str, Tile], calls: Sequence[str]) -> list[str]:
        text = " ".join(calls).replace(")", ",")
        return [name for name in names if f"&{self.names[name]}," in text]

    def _whole(self, name: str) -> str:
        spec = self.around.spec(name)
        fields = [self.around.address(name), "0", "0", *map(str, spec.shape[1:3]), _pixel(spec)]
        return f"  const tiny_tile {self.names[name]} = {{{', '.join(fields)}}};"

    def _tile(self, name: str) -> str:
        tile = self.tiles[name]
        begins = [_begin("row", tile.rows), _begin("column", tile.columns)]
        sizes = map(str, tile.spec.shape[1:3])
        fields = [f"scratch + {tile.offset}", *begins, *sizes, _pixel(tile.spec)]
        return f"const tiny_tile {self.names[name]} = {{{', '.join(fields)}}};"

    def _work(self, item: Copy | PatchLayer) -> Iterator[str]:
        tile = self.tiles[item.tile]
        name = self.names[tile.name]
        if isinstance(item, Copy):
            yield f"tiny_tile_copy(&{name}, &{self.names[item.source or tile.tensor]});"
        else:
            yield f"{self.around.callees[item.layer.output]}({self.around.argument});"
            if item.is_stored:
                yield f"tiny_tile_copy(&{self.names[tile.tensor]}, &{name});"
        if tile.fill is not None:
            yield f"tiny_tile_fill(&{name}, {tile.rows.size}, {tile.columns.size}, {tile.fill});"


def _loop(variable: str, anchors: Sequence[int]) -> list[str]:
    """The head of a loop over parts of the output, the last of which may lie over others."""
    if len(anchors) == 1:
        return []
    step, last = anchors[1] - anchors[0], anchors[-1]
    counter = variable if last % step == 0 else {"row": "top", "column": "left"}[variable]
    head = f"for (int32_t {counter} = 0; {counter} < {last + step}; {counter} += {step}) {{"
    return (
        [head]
        if counter == variable
        else [
            head,
            f"  const int32_t {variable} = tiny_min({counter}, {last});",
        ]
    )


def _begin(variable: str, axis: Axis) -> str:
    """Where a tile begins, as a person would write it."""
    if axis.is_whole:
        return "0"
    scaled = variable if axis.step == 1 else f"{variable} * {axis.step}"
    return (
        scaled if axis.lead == 0 else f"{scaled} {'-' if axis.lead > 0 else '+'} {abs(axis.lead)}"
    )


def _pixel(spec: TensorSpec) -> str:
    return str(spec.nbytes // (spec.shape[1] * spec.shape[2]))
