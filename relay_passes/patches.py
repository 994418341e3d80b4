"""Patches: layers that run on one part of the image after the other (MCUNetV2, arXiv 2110.15352).

The output (the coarsest, if there are several) is cut into a grid of equal parts; the last ones
lie over those before them where the grid does not divide it. What a part needs of each tensor is
found going back from it: its tile. Tiles of neighbours overlap, and what they share is computed
again. Borders of the image are bytes of the fill value in the tiles, so that kernels see images
without them. Along an axis with one part, tiles are whole and kernels keep the border.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._intervals import live_intervals
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import (
    Layer,
    Patches,
    PatchLayer,
    Port,
    Program,
    Step,
    Tensor,
    outputs_of,
    unique,
)
from tvm_tiny.relay_passes.tiles import Axis, Copy, Tile
from tvm_tiny.schedules.candidates import Candidate, Features, candidates
from tvm_tiny.schedules.dialect import Call, Kernel, Reach, TensorSpec
from tvm_tiny.schedules.window import without_border

Grid = tuple[int, int]  # parts along rows and columns
Steps = tuple[Fraction, Fraction]
ROWS, COLUMNS = 0, 1


def with_patches(program: Program, grid: Grid, split: int, features: Features = ()) -> Program:
    """The program whose first `split` layers run patch by patch, as many patches as `grid` says.

    `split` counts the layers of the program as reports list them; those at the beginning that
    only convert the input run before, on the whole of it. Raises UnsupportedError naming the layer
    that can't be cut.
    """
    if not 1 <= split <= len(program.steps) or min(grid) < 1:
        raise UnsupportedError(
            "patches need a split behind one of the layers, and a grid of one patch or more",
            where="patch",
            limit=f"split 1 to {len(program.steps)}",
            found=f"{grid[0]}x{grid[1]}@{split}",
        )
    if grid == (1, 1):
        return program
    first = _before_patches(program, split)
    patches = _Maker(PatchMaker(program, features), first, split).make(grid)
    steps = [*program.steps[:first], patches, *program.steps[split:]]
    used = {name for step in steps for name in (*step.inputs, *outputs_of(step))}
    used |= {port.tensor for port in (*program.inputs, *program.outputs)}
    kept = [t for t in program.tensors if t.name in used or t.storage in used]
    return replace(program, tensors=tuple(kept)).with_steps(steps)


def _before_patches(program: Program, split: int) -> int:
    """Layers that go before: those that take each byte of the input for another, once for all."""
    for number, step in enumerate(program.steps[: split - 1]):
        if not isinstance(step, Layer) or step.call is None or step.call.reaches != (Reach(),):
            return number
        if step.macs or step.call.output.nbytes > step.call.inputs[0].nbytes:
            return number
    return split - 1


@dataclass
class PatchMaker:
    """Makes patches of a program's layers; kernels for tiles of one shape are made once."""

    program: Program
    features: Features = ()
    found: dict[Hashable, tuple[Candidate, ...]] = field(default_factory=dict)

    def make(self, first: int, last: int, grid: Grid) -> Patches | None:
        """Steps `first` to before `last` patch by patch; None if they can't be."""
        try:
            return _Maker(self, first, last).make(grid)
        except UnsupportedError:
            return None

    def candidates(self, layer: Layer, call: Call) -> tuple[Candidate, ...]:
        """Kernels of a layer for what it computes of it in a patch."""
        key = (layer.output, call.attributes, call.inputs)
        if key not in self.found:
            self.found[key] = tuple(candidates(call, self.features))
        return self.found[key]


def make_patches(
    program: Program, first: int, last: int, grid: Grid, features: Features = ()
) -> Patches | None:
    """Steps `first` to before `last` patch by patch; None if they can't be."""
    return PatchMaker(program, features).make(first, last, grid)


def can_be_cut(step: Step) -> bool:
    """Whether a step is a layer that works on parts of images."""
    try:
        return _checked(step) is step
    except UnsupportedError:
        return False


def placed(patches: Patches) -> Patches:
    """The same with the least scratch for the kernels that its layers have now."""
    tiles, live = _placed(patches.tiles, patches.work)
    return replace(patches, tiles=tiles, live=live)


@dataclass(frozen=True)
class _Need:
    """What somebody reads of a tensor in every patch; `fill` as in Tile."""

    axes: tuple[Axis, Axis]
    fill: int | None = None


@dataclass(frozen=True)
class _Cut:
    """How the output is cut along an axis."""

    size: int
    extent: int

    @staticmethod
    def of(size: int, parts: int) -> _Cut:
        return _Cut(size, -(-size // min(parts, size)))

    @property
    def anchors(self) -> tuple[int, ...]:
        """Where parts begin; the last does not reach over the end."""
        return tuple(
            min(begin, self.size - self.extent) for begin in range(0, self.size, self.extent)
        )

    def covering(self, size: int, step: int) -> Axis:
        """Tiles that cover another tensor, `step` of whose rows belong to one of the output."""
        if self.extent == self.size:
            return Axis(size, size)
        rest = size - (self.size - self.extent) * step
        return Axis(size, max(self.extent * step, rest), step)


class _Maker:
    """The layers of patches to be, and what is known of their tiles."""

    def __init__(self, maker: PatchMaker, first: int, last: int) -> None:
        self.maker, self.program = maker, maker.program
        program = self.program
        self.layers = [_checked(step) for step in program.steps[first:last]]
        self.others = (*program.steps[:first], *program.steps[last:])
        self.made = {layer.output for layer in self.layers}
        self.crossing = self._crossing()
        self.tiles: dict[str, Tile] = {}  # by name, in the order in which they are made
        self.work: list[Copy | PatchLayer] = []

    def make(self, grid: Grid) -> Patches:
        steps = _steps(self.layers, self.crossing)
        self.cuts = (self._cut(ROWS, grid, steps), self._cut(COLUMNS, grid, steps))
        geometry = _Geometry.of(self, steps)
        for layer in self.layers:
            self._run(layer, geometry)
        tiles, live = _placed(list(self.tiles.values()), self.work)
        outputs = [layer.output for layer in self.layers if layer.output in self.crossing]
        return Patches(
            outputs[-1],
            self.cuts[ROWS].anchors,
            self.cuts[COLUMNS].anchors,
            tiles,
            tuple(self.work),
            self._inputs(),
            tuple(outputs),
            live,
        )

    def _cut(self, axis: int, grid: Grid, steps: Mapping[str, Steps]) -> _Cut:
        """The cut of the coarsest output: of others each part has a whole number of rows."""
        coarsest = min(self.crossing, key=lambda name: (steps[name][axis], name))
        return _Cut.of(self.program.tensor(coarsest).spec.shape[1 + axis], grid[axis])

    def _crossing(self) -> set[str]:
        """Tensors that exist whole behind the patches: the last one, and what others read."""
        used = {name for step in self.others for name in step.inputs}
        used |= {port.tensor for port in self.program.outputs}
        used |= {tensor.storage for tensor in self.program.tensors if tensor.name in used}
        return (used & self.made) | {self.layers[-1].output}

    def _inputs(self) -> tuple[str, ...]:
        read = [name for layer in self.layers for name in layer.inputs if name not in self.made]
        storage = {tensor.name: tensor.storage for tensor in self.program.tensors}
        for layer in self.layers:
            for name in layer.inputs:
                if name not in self.made and storage[name] in self.made:
                    raise _cannot(layer, "it reads a view of what is computed in patches")
        return tuple(dict.fromkeys(read))

    def _run(self, layer: Layer, geometry: _Geometry) -> None:
        """Tiles that the layer reads, then the layer."""
        assert layer.call is not None
        needs = geometry.read[layer.output]
        tiles = [
            None if need is None else self._tile(name, need)
            for name, need in zip(layer.inputs, needs, strict=True)
        ]
        axes = geometry.made[layer.output].axes
        made = self._add(layer.output, geometry.made[layer.output])
        call = _on_tiles(layer.call, tiles, axes)
        found = self.maker.candidates(layer, call)
        chosen = next(candidate for candidate in found if candidate.kernel is not None)
        item = replace(layer, candidates=found, chosen=chosen, scratch=None, call=call)
        names = tuple(None if tile is None else tile.name for tile in tiles)
        self.work.append(PatchLayer(item, names, made.name, layer.output in self.crossing))

    def _tile(self, name: str, need: _Need) -> Tile:
        """A tile with just what a layer reads: there already, or copied."""
        existing = [tile for tile in self.tiles.values() if tile.tensor == name]
        for tile in existing:
            fits = self._fill(need) in (None, tile.fill)
            if fits and (tile.rows, tile.columns) == need.axes:
                return tile
        tile = self._add(name, need)
        source = existing[0].name if name in self.made else None
        self.work.append(Copy(tile.name, source))
        return tile

    def _add(self, tensor: str, need: _Need) -> Tile:
        spec = self.program.tensor(tensor).spec
        rows, columns = need.axes
        part = replace(spec, shape=(1, rows.extent, columns.extent, *spec.shape[3:]))
        name = unique(f"{tensor}_tile", self.tiles)
        self.tiles[name] = Tile(name, tensor, part, rows, columns, self._fill(need))
        return self.tiles[name]

    def _fill(self, need: _Need) -> int | None:
        """None if no patch's tile reaches over the image either."""
        pairs = zip(need.axes, self.cuts, strict=True)
        return need.fill if any(_is_outside(axis, cut.anchors) for axis, cut in pairs) else None


@dataclass
class _Geometry:
    """What each layer makes, and reads of its inputs, by its output's name."""

    made: dict[str, _Need] = field(default_factory=dict)
    read: dict[str, tuple[_Need | None, ...]] = field(default_factory=dict)

    @staticmethod
    def of(maker: _Maker, steps: Mapping[str, Steps]) -> _Geometry:
        """From the last layer to the first."""
        found = _Geometry()
        needs: dict[str, list[_Need]] = {}
        for layer in reversed(maker.layers):
            wanted = needs.get(layer.output, [])
            if layer.output in maker.crossing:
                wanted = [*wanted, _stored(layer, maker.cuts, steps[layer.output])]
            found.made[layer.output] = _together(layer, wanted)
            axes = found.made[layer.output].axes
            read = [
                None if reach is None else _read(reach, axes, maker.program.tensor(name).spec)
                for name, reach in zip(layer.inputs, _reaches(layer), strict=True)
            ]
            for name, need in zip(layer.inputs, read, strict=True):
                if need is None and name in maker.made:
                    raise _cannot(layer, f"all that it makes needs all of {name}")
                if need is not None:
                    needs.setdefault(name, []).append(need)
            found.read[layer.output] = tuple(read)
        return found


def _checked(step: object) -> Layer:
    """The step, if it is a layer that works on parts of images."""
    if not isinstance(step, Layer):
        raise UnsupportedError("layers that run together already can't be cut into patches")
    if step.call is None or step.call.reaches is None:
        raise _cannot(step, f"{step.operator} needs the whole image")
    pairs = zip(step.call.inputs, step.call.reaches, strict=True)
    for spec in (step.call.output, *(spec for spec, reach in pairs if reach is not None)):
        if len(spec.shape) != 4 or spec.shape[0] != 1:
            raise _cannot(step, f"not an image: {spec.shape}")
    return step


def _cannot(layer: Layer, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"can't run patch by patch: {why}",
        where=layer.name,
        hint="a split before this layer",
    )


def _reaches(layer: Layer) -> tuple[Reach | None, ...]:
    assert layer.call is not None and layer.call.reaches is not None
    return layer.call.reaches


def _read(reach: Reach, axes: tuple[Axis, Axis], spec: TensorSpec) -> _Need:
    """What the windows of a tile read."""
    rows, columns = (
        Axis(size, size)
        if axis.is_whole
        else Axis(
            size,
            (axis.extent - 1) * reach.strides[i] + reach.extent[i],
            axis.step * reach.strides[i],
            axis.lead * reach.strides[i] + reach.padding[i],
        )
        for i, (axis, size) in enumerate(zip(axes, spec.shape[1:3], strict=True))
    )
    looks_around = reach.extent != (1, 1) or reach.padding != (0, 0)
    return _Need((rows, columns), reach.fill if looks_around else None)


def _stored(layer: Layer, cuts: tuple[_Cut, _Cut], steps: Steps) -> _Need:
    """Tiles that cover a tensor which exists whole."""
    assert layer.call is not None
    if any(step.denominator != 1 for step in steps):
        raise _cannot(layer, "parts of it would not have whole rows and columns")
    rows, columns = (
        cut.covering(size, int(step))
        for cut, size, step in zip(cuts, layer.call.output.shape[1:3], steps, strict=True)
    )
    return _Need((rows, columns))


def _steps(layers: Sequence[Layer], crossing: Collection[str]) -> dict[str, Steps]:
    """Rows and columns of each tensor that belong to one of the coarsest output."""
    known: dict[str, Steps] = {layers[-1].output: (Fraction(1), Fraction(1))}
    size = 0
    while size < len(known):
        size = len(known)
        for layer in reversed(layers):
            for name, reach in zip(layer.inputs, _reaches(layer), strict=True):
                if reach is None:
                    continue
                if layer.output in known:
                    rows, columns = known[layer.output]
                    known.setdefault(name, (rows * reach.strides[0], columns * reach.strides[1]))
                elif name in known:
                    rows, columns = known[name]
                    known[layer.output] = (rows / reach.strides[0], columns / reach.strides[1])
    for layer in layers:
        if layer.output in crossing and layer.output not in known:
            raise _cannot(layer, "it has nothing to do with the last layer")
    least = [min(known[name][axis] for name in crossing) for axis in (ROWS, COLUMNS)]
    return {name: (rows / least[0], columns / least[1]) for name, (rows, columns) in known.items()}


def _together(layer: Layer, needs: Sequence[_Need]) -> _Need:
    """The tile in which all needs lie; of different fills one, others are copied."""
    rows, columns = (_union(layer, [need.axes[i] for need in needs]) for i in (ROWS, COLUMNS))
    fills = [need.fill for need in needs if need.fill is not None]
    return _Need((rows, columns), fills[0] if fills else None)


def _union(layer: Layer, axes: Sequence[Axis]) -> Axis:
    if len({axis.step for axis in axes}) != 1:
        raise _cannot(layer, "its readers move over it with different strides")
    lead = max(axis.lead for axis in axes)
    behind = max(axis.extent - axis.lead for axis in axes)
    return replace(axes[0], lead=lead, extent=lead + behind)


def _is_outside(axis: Axis, anchors: Sequence[int]) -> bool:
    bounds = [axis.bounds(anchor) for anchor in anchors]
    return any(begin < 0 or end > axis.size for begin, end in bounds)


def _on_tiles(call: Call, tiles: Sequence[Tile | None], axes: tuple[Axis, Axis]) -> Call:
    """What a layer computes in a patch."""
    given = iter(tiles)
    arguments = []
    for argument in call.arguments:
        tile = next(given) if isinstance(argument, TensorSpec) else None
        arguments.append(argument if tile is None else tile.spec)
    rows, columns = axes
    attributes = without_border(call.attributes, not rows.is_whole, not columns.is_whole)
    return Call(call.operator, attributes, tuple(arguments))


# --- places of tiles ----------------------------------------------------------------------------

NOTHING = Candidate("", "copy", 0, lambda: Kernel("copy", None))


def _placed(
    tiles: Sequence[Tile], work: Sequence[Copy | PatchLayer]
) -> tuple[tuple[Tile, ...], tuple[tuple[str, ...], ...]]:
    """Tiles with their offsets, planned as the tensors of a program, and those live by layer."""
    tensors = [Tensor(tile.name, tile.spec, tile.name) for tile in tiles]
    last = work[-1]
    port = Port(last.tile, last.tile, None, None)
    program = Program(tuple(tensors), (), (), (port,)).with_steps([*map(_step, work)])
    plan = plan_arena(program)
    names = {tile.name for tile in tiles}
    intervals = [interval for interval in live_intervals(program) if interval.name in names]
    live = [
        tuple(i.name for i in intervals if i.first <= number <= i.last)
        for number, item in enumerate(work)
        if isinstance(item, PatchLayer)
    ]
    return tuple(replace(tile, offset=plan.offsets[tile.name]) for tile in tiles), tuple(live)


def _step(item: Copy | PatchLayer) -> Layer:
    """Work on a patch as a layer whose tensors are tiles."""
    if isinstance(item, Copy):
        return Layer(item.tile, "copy", tuple(filter(None, [item.source])), item.tile, NOTHING, 0)
    kernel, layer = item.layer.kernel, item.layer
    pairs = zip(item.inputs, layer.overlaps, strict=True)
    overlaps = tuple(overlap for name, overlap in pairs if name is not None)
    chosen = replace(layer.chosen, make=lambda: replace(kernel, overlaps=overlaps))
    names = tuple(filter(None, item.inputs))
    return replace(layer, inputs=names, output=item.tile, chosen=chosen)
