"""Which layers run as stages: those with which the model fits the SRAM at the least instructions.

A program is cut into single layers and stages; what a cut costs is the sum over its parts, so the
best one for a limit is found by dynamic programming over the places where it may be cut. Parts are
independent but for what lives across them, which is known. Stages of MCUNetV2 (arXiv 2110.15352)
recompute what patches share; strips keep it, and are the cheaper answer wherever they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import inf

from tvm_tiny.relay_passes._overlaps import most_shared
from tvm_tiny.relay_passes.patches import Grid, PatchMaker, can_be_cut, placed
from tvm_tiny.relay_passes.program import (
    ALIGNMENT,
    Layer,
    Patches,
    Program,
    Stage,
    Step,
    aligned,
)
from tvm_tiny.relay_passes.stages import Flow, StageMaker
from tvm_tiny.schedules.candidates import Candidate, Features
from tvm_tiny.schedules.dialect import Kernel, Overlap

Key = tuple[int, int, Grid | int]  # first layer, the one behind the last, patches or most rows
WHOLE = 0  # rows of a layer that stays one
FAIR = 1.2  # instructions with strips, for one without, up to which patches are not looked at
GRIDS: tuple[Grid, ...] = ((2, 2), (3, 3), (4, 4))  # that patches may have
ROWS = (1, 2, 4, 8, 16)  # that layers of a stage may make at a time
LONGEST_STAGE, LONGEST_PATCHES = 40, 16
MOVED_WORD, FIRING = 2.5, 60  # instructions of moving four bytes, and of the loop for each call


@dataclass(frozen=True)
class Part:
    """One step of a program, with kernels for the room that it had."""

    step: Step
    bytes_live: int
    instructions: int


@dataclass(frozen=True)
class Found:
    """A program whose steps all have room: the most bytes of one of them, and the instructions."""

    program: Program
    peak_bytes: int
    instructions: int


class StageSearch:
    """All ways to cut a program; parts are made once for all limits that are asked for."""

    def __init__(
        self,
        program: Program,
        features: Features = (),
        called_back: frozenset[str] = frozenset(),
    ) -> None:
        """Inputs of the model in `called_back` arrive row by row."""
        self.program = program
        self.called_back = called_back
        self.maker = StageMaker(program, features, called_back)
        self.life = _Life(program, called_back)
        self.patch_maker = PatchMaker(program, features)
        self.stages: dict[Key, _Sketch | _PatchSketch | None] = {}

    def within(self, limit: int, has_patches: bool = True) -> Found | None:
        """The fastest cut of which no step needs more than `limit` bytes; None if there is none.

        Kernels are made for the parts of the best cut only; where those turn out slower than
        predicted, or have no room, the next best cut is looked at.
        """
        firsts = range(len(self._layers))
        options = [list(self._options(first, limit)) for first in firsts]
        found = self._within(limit, options)
        if not has_patches or (found and found.instructions <= FAIR * self._fastest):
            return found
        # patches compute halos again, and are looked at where strips help little
        if found is None and not self._may_fit(limit, options):
            return None
        more = [list(self._patch_options(first, limit)) for first in firsts]
        pairs = zip(options, more, strict=True)
        return self._within(limit, [[*strips, *patches] for strips, patches in pairs]) or found

    def _may_fit(self, limit: int, options: Sequence[Sequence[Key]]) -> bool:
        """Whether there is a cut if all patches that have room for their output have room."""
        reached = {0}
        for first, keys in enumerate(options):
            if first in reached:
                reached |= {key[1] for key in keys if key[2] != WHOLE or self._single(first, limit)}
                reached |= set(self._patch_ends(first, limit))
        return len(options) in reached

    @cached_property
    def _fastest(self) -> int:
        """Instructions with room for everything."""
        return sum(layer.chosen.cost for layer in self._layers)

    def _within(self, limit: int, options: Sequence[Sequence[Key]]) -> Found | None:
        fitted: dict[Key, Part | None] = {}
        while (cut := self._best_cut(options, fitted)) is not None:
            new = [key for key in cut if key not in fitted]
            if not new:
                return self._found([part for key in cut if (part := fitted[key])])
            fitted |= {key: self._fitted(key, limit) for key in new}
        return None

    def _best_cut(
        self, options: Sequence[Sequence[Key]], fitted: Mapping[Key, Part | None]
    ) -> list[Key] | None:
        """The cut of the least instructions, as far as they are known."""
        count = len(options)
        least: list[int | None] = [0, *[None] * count]
        into: list[Key | None] = [None] * (count + 1)
        for first, keys in enumerate(options):
            before = least[first]
            if before is None:
                continue
            for key in keys:
                part = fitted.get(key)
                if key in fitted and part is None:
                    continue
                total = before + (part.instructions if part else self._predicted(key))
                known = least[key[1]]
                if known is None or total < known:
                    least[key[1]], into[key[1]] = total, key
        cut, last = [], count
        while last > 0:
            part_into = into[last]
            if part_into is None:
                return None
            cut.append(part_into)
            last = part_into[0]
        return cut[::-1]

    def smallest(self) -> Found:
        """The cut without patches whose largest step is the smallest, of those the fastest."""
        low, high = 0, self.enough
        found = self.within(high, has_patches=False)
        while low + ALIGNMENT < high and found is not None:
            middle = (low + high) // 2
            better = self.within(middle, has_patches=False)
            if better is None:
                low = middle
            else:
                found, high = better, min(middle, better.peak_bytes)
        assert found is not None, "single layers always have room at the bytes of the largest"
        return found

    @property
    def enough(self) -> int:
        """Bytes with which every layer has room."""
        return max(self._alone)

    @property
    def largest_layer(self) -> str:
        """The layer that needs the most memory when it runs alone."""
        return self._layers[self._alone.index(self.enough)].name

    @cached_property
    def _layers(self) -> list[Layer]:
        return [step for step in self.program.steps if isinstance(step, Layer)]

    @cached_property
    def _alone(self) -> list[int]:
        """Bytes that live while each layer runs alone, with its fastest kernel."""
        return [self.life.single(i, layer.chosen) for i, layer in enumerate(self._layers)]

    @cached_property
    def _helped_below(self) -> list[float]:
        """The limit below which each layer needs help; all do that read what arrives by rows."""
        pairs = zip(self._layers, self._alone, strict=True)
        return [inf if self._reads_call_back(layer) else size for layer, size in pairs]

    def _options(self, first: int, limit: int) -> Iterator[Key]:
        """Parts that begin with a layer and have room, the scratch of kernels aside."""
        if not self._reads_call_back(self._layers[first]):
            yield first, first + 1, WHOLE
        longest = min(first + LONGEST_STAGE, len(self._layers))
        for last in range(first + 1, longest + 1):
            if not self._is_useful(first, last, limit):
                continue
            for rows in ROWS:
                sketch = self._sketch((first, last, rows))
                if sketch is None or sketch.bytes_live > limit:
                    break
                yield first, last, rows

    def _patch_options(self, first: int, limit: int) -> Iterator[Key]:
        """Parts that run patch by patch, from this layer on."""
        for last in self._patch_ends(first, limit):
            for grid in GRIDS:
                sketch = self._sketch((first, last, grid))
                if sketch is not None and sketch.bytes_live <= limit:
                    yield first, last, grid

    def _patch_ends(self, first: int, limit: int) -> Iterator[int]:
        """Behind which layer patches that begin with a layer may end, tiles aside."""
        longest = min(first + LONGEST_PATCHES, len(self._layers))
        for last in range(first + 1, longest + 1):
            layer = self._layers[last - 1]
            if not can_be_cut(layer) or self._reads_call_back(layer):
                return
            has_room = self.life.patches(first, last, layer.output) < limit
            if last > first + 1 and has_room and self._is_useful(first, last, limit):
                yield last

    def _predicted(self, key: Key) -> int:
        sketch = self._sketch(key)
        return sketch.predicted if sketch else self._layers[key[0]].chosen.cost

    def _fitted(self, key: Key, limit: int) -> Part | None:
        """A part with the fastest kernels for which there is room."""
        sketch = self._sketch(key)
        return sketch.fitted(limit) if sketch else self._single(key[0], limit)

    def _is_useful(self, first: int, last: int, limit: int) -> bool:
        """Whether a layer needs help: has no room, or reads what arrives row by row."""
        return max(self._helped_below[first:last]) > limit

    def _reads_call_back(self, layer: Layer) -> bool:
        return bool(self.called_back & set(layer.inputs))

    def _single(self, index: int, limit: int) -> Part | None:
        """A layer alone, with its fastest kernel for which there is room."""
        layer = self._layers[index]
        fitting = _up_to(layer, lambda c: self.life.single(index, c) <= limit)
        chosen = next((candidate for candidate in fitting if candidate.kernel), None)
        if chosen is None:
            return None
        step = replace(layer, chosen=chosen, candidates=fitting)
        return Part(step, self.life.single(index, chosen), chosen.cost)

    def _sketch(self, key: Key) -> _Sketch | _PatchSketch | None:
        if key[2] != WHOLE and key not in self.stages:
            self.stages[key] = self._new_sketch(*key)
        return self.stages.get(key)

    def _new_sketch(self, first: int, last: int, how: Grid | int) -> _Sketch | _PatchSketch | None:
        if isinstance(how, int):
            made = self.maker.make(first, last, how)
            return made and _Sketch(*made, self.life.stage(first, last, made[0]))
        patches = self.patch_maker.make(first, last, how)
        if patches is None or len(patches.outputs) > 1:
            return None
        return _PatchSketch(patches, self.life.patches(first, last, patches.output))

    def _found(self, parts: Sequence[Part]) -> Found:
        steps = [part.step for part in parts]
        program = replace(self.program, steps=tuple(steps))
        used = {n for step in steps for n in (*step.inputs, step.output)}
        used |= {port.tensor for port in (*program.inputs, *program.outputs)}
        storages = {t.storage for t in program.tensors if t.name in used}
        kept = [t for t in program.tensors if t.name in used | storages]
        ports = [
            replace(port, is_called_back=port.tensor in self.called_back) for port in program.inputs
        ]
        program = replace(program, tensors=tuple(kept), inputs=tuple(ports)).with_steps(steps)
        total = sum(part.instructions for part in parts)
        return Found(program, max(part.bytes_live for part in parts), total)


@dataclass(frozen=True)
class _Sketch:
    """A stage whose kernels are not chosen; `bytes_live` are without their scratch."""

    stage: Stage
    flow: Flow
    bytes_live: int

    def fitted(self, limit: int) -> Part | None:
        """With the fastest kernels for which there is room."""
        room, layers, chosen = limit - self.bytes_live, [], []
        for item in self.stage.row_layers:
            fitting = _up_to(item.layer, lambda c: aligned(c.scratch_bytes) <= room)
            fastest = next((candidate for candidate in fitting if candidate.kernel), None)
            if fastest is None:
                return None
            chosen.append(fastest)
            layers.append(replace(item, layer=replace(item.layer, candidates=fitting)))
        stage = replace(self.stage, row_layers=tuple(layers)).with_kernels(chosen)
        scratch = stage.scratch_bytes - stage.kernel_scratch
        return Part(stage, self.bytes_live + aligned(scratch), self._instructions(stage))

    @cached_property
    def predicted(self) -> int:
        """Instructions with the kernels that are predicted to be the fastest."""
        return self._instructions(self.stage)

    def _instructions(self, stage: Stage) -> int:
        total = FIRING * self.flow.firings + MOVED_WORD * self.flow.moved_bytes / 4
        for item in stage.row_layers:
            height = self.flow.rows[item.layer.output].height
            total += item.layer.chosen.cost * (height // item.rows)
        return round(total)


@dataclass(frozen=True)
class _PatchSketch:
    """Patches whose kernels are not chosen; `around` are bytes beside their scratch."""

    patches: Patches
    around: int

    @property
    def bytes_live(self) -> int:
        """The least: with kernels that need no scratch."""
        ends = [tile.offset + tile.spec.nbytes for tile in self.patches.tiles]
        return self.around + aligned(max(ends))

    @property
    def predicted(self) -> int:
        """Instructions with the kernels that are predicted to be the fastest."""
        count = len(self.patches.rows) * len(self.patches.columns)
        layers = sum(layer.chosen.cost + FIRING for layer in self.patches.layers)
        return round(count * layers + MOVED_WORD * self.patches.copied_bytes / 4)

    def fitted(self, limit: int) -> Part | None:
        """With the fastest kernels, or those of least scratch, if there is room."""
        able = [[c for c in layer.candidates if c.kernel] for layer in self.patches.layers]
        least = [min(each, key=lambda c: c.scratch_bytes) for each in able]
        for chosen in ([each[0] for each in able], least):
            patches = placed(self.patches.with_kernels(chosen))
            size = self.around + aligned(patches.scratch_bytes)
            if size <= limit:
                return Part(patches, size, replace(self, patches=patches).predicted)
        return None


def _up_to(layer: Layer, has_room: Callable[[Candidate], bool]) -> tuple[Candidate, ...]:
    """The layer's candidates, of which those without room will say that they can't do it."""

    def limited(candidate: Candidate) -> Kernel | None:
        return candidate.kernel if candidate.kernel and has_room(candidate) else None

    every = layer.candidates or (layer.chosen,)
    return tuple(replace(candidate, make=partial(limited, candidate)) for candidate in every)


class _Life:
    """Which storages live across which steps, scratch aside."""

    def __init__(self, program: Program, absent: frozenset[str]) -> None:
        self.program = program
        self.storage = {tensor.name: tensor.storage for tensor in program.tensors}
        self.size = {t.storage: t.arena_bytes for t in program.tensors}
        present = [port.tensor for port in program.inputs if port.tensor not in absent]
        self.first = {self.storage[name]: -1 for name in present}
        self.last = dict.fromkeys(self.first, 0)
        for number, step in enumerate(program.steps):
            self.first.setdefault(self.storage[step.output], number)
            for name in (*step.inputs, step.output):
                if name not in absent:
                    self.last[self.storage[name]] = number
        for port in program.outputs:
            self.last[self.storage[port.tensor]] = len(program.steps)

    def single(self, index: int, candidate: Candidate) -> int:
        """Bytes that live while a layer runs with a kernel."""
        step, kernel = self.program.steps[index], candidate.kernel
        overlaps = kernel.overlaps if kernel else ()
        around = self._around(index, index + 1, step.inputs, step.output, overlaps)
        return around + aligned(candidate.scratch_bytes)

    def stage(self, first: int, last: int, stage: Stage) -> int:
        """Bytes that live while a stage runs, but for the scratch of its kernels."""
        inside = self._around(first, last, stage.inputs, stage.output, stage.overlaps)
        return inside + stage.kernel_scratch

    def patches(self, first: int, last: int, output: str) -> int:
        """The same of patches, without their scratch: inputs stay until all patches are done."""
        return self._around(first, last, (), output, ())

    def _around(
        self,
        first: int,
        last: int,
        inputs: Sequence[str],
        output: str,
        overlaps: Sequence[Overlap | None],
    ) -> int:
        """What lives across steps, the output lying over an input that dies where it may."""
        made = self.storage[output]
        live = [s for s in self.first if self.first[s] < first and self.last[s] >= first]
        total = self.size[made] + sum(self.size[s] for s in live if s != made)
        dying: dict[str, Overlap] = {}
        for name, overlap in zip(inputs, overlaps, strict=False):
            storage = self.storage[name]
            dies = storage in self.last and self.last[storage] < last
            if overlap is not None and dies and storage != made:
                shift = min(overlap.shift, dying.get(storage, overlap).shift)
                dying[storage] = replace(overlap, shift=shift // ALIGNMENT * ALIGNMENT)
        shares = [(self.size[storage], overlap) for storage, overlap in dying.items()]
        return total - most_shared(self.size[made], shares)
