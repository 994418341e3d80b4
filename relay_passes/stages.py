"""Stages: layers that run by strips of rows, so that tensors between them never exist whole.

Each tensor inside a stage is a sliding buffer. A layer runs when the rows that its next windows
read are there, and somebody waits for what it makes; of all that can run, the one nearest to the
output does, so that no row is made before it is needed. No row is computed twice. Borders above
and below the image are rows of the fill value in the buffers, so that kernels see images without.

The firmware decides at run time which layer runs next (codegen/templates/stage.c.j2); `simulate`
follows the same rules, and gives the rows that each buffer must hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tvm_tiny.relay_passes.program import (
    CALL_BACK,
    Layer,
    Program,
    RowLayer,
    Rows,
    Stage,
    Step,
    aligned,
)
from tvm_tiny.schedules.candidates import Features, candidates
from tvm_tiny.schedules.dialect import Argument, Call, Overlap, Reach, TensorSpec
from tvm_tiny.schedules.window import without_border

WORD = 4  # kernels may read a row's first bytes as words


@dataclass(frozen=True)
class StageMaker:
    """Makes stages of a program's layers.

    Inputs of the model in `called_back` are read by call-back instead of from the arena.
    """

    program: Program
    features: Features = ()
    called_back: frozenset[str] = frozenset()
    tiles: dict[tuple[str, int], RowLayer] = field(default_factory=dict)  # made already

    def make(self, first: int, last: int, most_rows: int) -> tuple[Stage, Flow] | None:
        """Steps `first` to before `last` as one stage, and how it runs; None if they can't be one.

        Layers make up to `most_rows` rows at a time. Kernels are those predicted to be the
        fastest, and not made.
        """
        plan = _Plan.of(self.program, first, last, self.called_back)
        if plan is None:
            return None
        row_layers = tuple(self._row_layer(layer, most_rows) for layer in plan.layers)
        sources = plan.sources(most_rows)
        flow = simulate(row_layers, [*sources, *plan.whole_inputs, *plan.made])
        overlaps = tuple(flow.overlap(name) for name in plan.inputs)
        stage = Stage(
            plan.output, _placed(flow, plan), row_layers, plan.inputs, plan.output, overlaps
        )
        return stage, flow

    def _row_layer(self, layer: Layer, most_rows: int) -> RowLayer:
        key = (layer.output, _rows_of(layer, most_rows))
        if key not in self.tiles:
            tile = _tile(layer, key[1], self.features)
            self.tiles[key] = RowLayer(tile, _reaches(layer), key[1])
        return self.tiles[key]


def streamable_inputs(program: Program) -> frozenset[str]:
    """Inputs of the model that may arrive row by row: all that read them work on rows."""
    found = set()
    for port in program.inputs:
        readers = [step for step in program.steps if port.tensor in step.inputs]
        layers = [step for step in readers if isinstance(step, Layer) and _works_on_rows(step)]
        reaches = [
            reach
            for layer in layers
            for name, reach in zip(layer.inputs, _reaches(layer), strict=True)
            if name == port.tensor
        ]
        is_output = port.tensor in {output.tensor for output in program.outputs}
        if len(layers) == len(readers) > 0 and None not in reaches and not is_output:
            found.add(port.tensor)
    return frozenset(found)


@dataclass(frozen=True)
class _Plan:
    """The layers of a stage to be, and what stands around them."""

    program: Program
    layers: tuple[Layer, ...]
    outside: tuple[str, ...]  # tensors made before, read row by row
    read_whole: tuple[str, ...]
    called_back: frozenset[str]

    @staticmethod
    def of(program: Program, first: int, last: int, called_back: frozenset[str]) -> _Plan | None:
        """The plan, if all layers work on rows and nothing else needs what is inside."""
        steps = program.steps[first:last]
        layers = tuple(step for step in steps if isinstance(step, Layer))
        if len(layers) < len(steps) or not all(map(_works_on_rows, layers)):
            return None
        made = {layer.output for layer in layers}
        if not _is_closed(program, made - {layers[-1].output}, steps):
            return None
        read = [
            (name, reach)
            for layer in layers
            for name, reach in zip(layer.inputs, _reaches(layer), strict=True)
            if name not in made or reach is None
        ]
        outside = tuple(dict.fromkeys(name for name, reach in read if reach is not None))
        whole = tuple(dict.fromkeys(name for name, reach in read if reach is None))
        if set(whole) & (made | set(outside)):
            return None
        plan = _Plan(program, layers, outside, whole, called_back & set(outside))
        return plan if all(len(plan.fills(name)) <= 1 for name in made | set(outside)) else None

    @property
    def output(self) -> str:
        return self.layers[-1].output

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors in the arena that the stage reads."""
        return tuple(n for n in (*self.outside, *self.read_whole) if n not in self.called_back)

    @property
    def made(self) -> list[Rows]:
        """Tensors that layers make, without a size."""
        return [self._rows(layer.output) for layer in self.layers]

    @property
    def whole_inputs(self) -> list[Rows]:
        """Tensors in the arena that are read row by row, some of them only to be copied."""
        return [self._whole(name) for name in self.outside if name not in self.called_back]

    def sources(self, most_rows: int) -> list[Rows]:
        """Copies of inputs whose borders windows reach, and inputs by call-back."""
        found = []
        for name in self.outside:
            rows = self._rows(name)
            if name in self.called_back or rows.border or self._is_read_below(rows):
                source = CALL_BACK if name in self.called_back else name
                copied = largest_divisor(rows.height, most_rows)
                found.append(replace(rows, source=source, copied=copied))
        return found

    def _whole(self, name: str) -> Rows:
        spec = self.program.tensor(name).spec
        return Rows(name, spec, spec.shape[1])

    def _rows(self, name: str) -> Rows:
        spec, reaches = self.program.tensor(name).spec, self._reaches_of(name)
        border = max((reach.padding[0] for reach, _ in reaches), default=0)
        return Rows(name, spec, 0, border, next(iter(self.fills(name)), 0))

    def fills(self, name: str) -> set[int]:
        """What readers see above and below a tensor; there is room for one value only."""
        height = self.program.tensor(name).spec.shape[1]
        return {
            reach.fill
            for reach, made in self._reaches_of(name)
            if reach.padding[0] > 0 or _last_row(reach, made) >= height
        }

    def _is_read_below(self, rows: Rows) -> bool:
        reaches = self._reaches_of(rows.name)
        return any(_last_row(reach, height) >= rows.height for reach, height in reaches)

    def _reaches_of(self, name: str) -> list[tuple[Reach, int]]:
        """Who reads a tensor, and heights of what they make of it."""
        return [
            (reach, layer.call.output.shape[1])
            for layer in self.layers
            for read, reach in zip(layer.inputs, _reaches(layer), strict=True)
            if read == name and reach is not None and layer.call is not None
        ]


def _last_row(reach: Reach, height: int) -> int:
    return (height - 1) * reach.strides[0] - reach.padding[0] + reach.extent[0] - 1


def _works_on_rows(layer: Layer) -> bool:
    """Whether a part of the output's rows needs a part of the inputs' rows."""
    if layer.call is None or layer.call.reaches is None:
        return False
    pairs = zip(layer.call.inputs, layer.call.reaches, strict=True)
    specs = [layer.call.output, *(spec for spec, reach in pairs if reach is not None)]
    return all(_is_image(spec) for spec in specs)


def _is_image(spec: TensorSpec) -> bool:
    is_one = len(spec.shape) == 4 and spec.shape[0] == 1
    return is_one and (spec.nbytes // spec.shape[1]) % WORD == 0


def _is_closed(program: Program, inner: set[str], steps: Sequence[Step]) -> bool:
    """Whether inner tensors have no views, are no results, and only `steps` read them."""
    others = [step for step in program.steps if step not in steps]
    read = {name for step in others for name in step.inputs}
    results = {port.tensor for port in program.outputs}
    shared = {t.storage for t in program.tensors if t.storage != t.name}
    shared |= {t.name for t in program.tensors if t.storage != t.name}
    touched = inner | {name for step in steps for name in (*step.inputs, step.output)}
    return not (inner & (read | results)) and not (touched & shared)


def _reaches(layer: Layer) -> tuple[Reach | None, ...]:
    assert layer.call is not None and layer.call.reaches is not None
    return layer.call.reaches


def _rows_of(layer: Layer, most_rows: int) -> int:
    assert layer.call is not None
    return largest_divisor(layer.call.output.shape[1], most_rows)


def largest_divisor(height: int, limit: int) -> int:
    """The most rows up to `limit` of which a whole number fills the height."""
    return max(rows for rows in range(1, min(height, limit) + 1) if height % rows == 0)


def _tile(layer: Layer, rows: int, features: Features) -> Layer:
    """The layer with kernels for as many rows as it makes at a time."""
    call = layer.call
    assert call is not None
    reaches = iter(_reaches(layer))
    arguments = [_part(argument, reaches, rows) for argument in call.arguments]
    attributes = without_border(call.attributes, rows=True, columns=False)
    tile = Call(call.operator, attributes, tuple(arguments))
    found = tuple(candidates(tile, features))
    return replace(layer, candidates=found, chosen=found[0], scratch=None, call=tile)


def _part(argument: Argument, reaches: object, rows: int) -> Argument:
    if not isinstance(argument, TensorSpec):
        return argument
    reach = next(reaches)  # type: ignore[call-overload]
    if reach is None:
        return argument
    height = (rows - 1) * reach.strides[0] + reach.extent[0]
    return replace(argument, shape=(1, height, *argument.shape[2:]))


@dataclass
class Flow:
    """How a stage runs: rows that exist of each tensor, and what that needs."""

    rows: dict[str, Rows]
    end: dict[str, int] = field(default_factory=dict)  # rows made so far
    capacity: dict[str, int] = field(default_factory=dict)
    shift: dict[str, int] = field(default_factory=dict)  # of the output against an input
    moved_bytes: int = 0
    firings: int = 0

    def overlap(self, name: str) -> Overlap | None:
        """How the output may lie over an input."""
        return Overlap(self.shift[name]) if name in self.shift else None


@dataclass(frozen=True)
class _Firing:
    """What a layer, or a copy, does at a time."""

    inputs: tuple[tuple[str, Reach], ...]
    output: str
    rows: int

    def wanted(self, reach: Reach, made: int) -> int:
        """Rows of an input that must exist for the next output rows, of which there are `made`."""
        return (made + self.rows - 1) * reach.strides[0] - reach.padding[0] + reach.extent[0]


def simulate(row_layers: Sequence[RowLayer], tensors: Sequence[Rows]) -> Flow:
    """Run a stage without data.

    `tensors` are all that it has: first those with a source, whose names those of whole inputs
    may repeat, as `name` is read by the copy and `copy of name` by the layers.
    """
    copies = {rows.name: rows for rows in tensors if rows.source is not None}
    flow = Flow({})
    for rows in tensors:
        flow.rows[_key(rows)] = rows
    firings = [_copying(rows) for rows in copies.values()]
    firings += [_layer_firing(item, copies) for item in row_layers]
    readers = _readers(firings)
    for key, rows in flow.rows.items():
        is_whole = rows.source is None and rows.capacity > 0
        flow.end[key] = rows.height if is_whole else 0
        flow.capacity[key] = rows.capacity or rows.border
    output = firings[-1].output
    while flow.end[output] < flow.rows[output].height:
        firing = next((f for f in reversed(firings) if _is_ready(flow, f, readers)), None)
        assert firing is not None, "a stage whose layers wait for each other"
        _fire(flow, firing, readers, output)
    return flow


def _key(rows: Rows) -> str:
    return rows.name if rows.source is None else copy_of(rows.name)


def copy_of(name: str) -> str:
    """The name of the rows that a stage copies from a whole tensor."""
    return f"{name}_rows"


def _copying(rows: Rows) -> _Firing:
    read = () if rows.source == CALL_BACK else ((rows.name, Reach()),)
    return _Firing(read, copy_of(rows.name), rows.copied)


def _layer_firing(item: RowLayer, copies: Mapping[str, Rows]) -> _Firing:
    pairs = zip(item.layer.inputs, item.reaches, strict=True)
    read = [
        (copy_of(name) if name in copies else name, reach)
        for name, reach in pairs
        if reach is not None
    ]
    return _Firing(tuple(read), item.layer.output, item.rows)


Readers = Mapping[str, Sequence[tuple[Reach, _Firing]]]


def _readers(firings: Sequence[_Firing]) -> Readers:
    """For each tensor, how it is read and by whom."""
    found: dict[str, list[tuple[Reach, _Firing]]] = {}
    for firing in firings:
        for name, reach in firing.inputs:
            found.setdefault(name, []).append((reach, firing))
    return found


def _needed(flow: Flow, name: str, readers: Readers) -> int:
    """The first row that somebody has still to read."""
    begins = [
        flow.end[reader.output] * reach.strides[0] - reach.padding[0]
        for reach, reader in readers.get(name, ())
    ]
    return min([flow.end[name], *begins])


def _is_ready(flow: Flow, firing: _Firing, readers: Readers) -> bool:
    """Whether all rows are there, and others are wanted.

    Missing ones below the image are added when it is complete.
    """
    made = flow.end[firing.output]
    if made >= flow.rows[firing.output].height or not _is_wanted(flow, firing, readers):
        return False
    for name, reach in firing.inputs:
        missing = firing.wanted(reach, made) - flow.end[name]
        if missing > 0 and flow.end[name] < flow.rows[name].height:
            return False
        if missing > 0:
            _push(flow, name, missing, readers)
    return True


def _is_wanted(flow: Flow, firing: _Firing, readers: Readers) -> bool:
    """Whether a reader waits for rows of the output."""
    ends = [
        reader.wanted(reach, flow.end[reader.output])
        for reach, reader in readers.get(firing.output, ())
    ]
    return not ends or flow.end[firing.output] < max(ends)


def _fire(flow: Flow, firing: _Firing, readers: Readers, output: str) -> None:
    flow.firings += 1
    if firing.output == output:
        _watch_overlap(flow, firing, readers)
    _push(flow, firing.output, firing.rows, readers)


def _push(flow: Flow, name: str, count: int, readers: Readers) -> None:
    """Make room for rows behind the last one, and take them as made."""
    rows = flow.rows[name]
    if flow.end[name] + count <= rows.height <= rows.capacity:
        flow.end[name] += count  # whole: nothing moves
        return
    kept = flow.end[name] - _needed(flow, name, readers)
    flow.capacity[name] = max(flow.capacity[name], kept + count)
    flow.moved_bytes += kept * rows.pitch
    flow.end[name] += count


def _watch_overlap(flow: Flow, firing: _Firing, readers: Readers) -> None:
    """What the output's next rows must not reach: rows of whole inputs not read before."""
    written = (flow.end[firing.output] + firing.rows) * flow.rows[firing.output].pitch
    for name, rows in flow.rows.items():
        if rows.source is None and rows.capacity > 0 and name != firing.output:
            unread = max(_needed(flow, name, readers), 0) * rows.pitch
            shift = unread - written
            flow.shift[name] = min(shift, flow.shift.get(name, shift))


def _placed(flow: Flow, plan: _Plan) -> tuple[Rows, ...]:
    """All tensors with their capacities, and places in the stage's scratch."""
    placed, offset = [], 0
    for key, rows in flow.rows.items():
        is_whole = rows.capacity > 0 or key == plan.output
        if is_whole:
            placed.append(replace(rows, name=key, capacity=rows.height))
            continue
        placed.append(replace(rows, name=key, capacity=flow.capacity[key], offset=offset))
        offset = aligned(offset + flow.capacity[key] * rows.pitch)
    return tuple(placed)
