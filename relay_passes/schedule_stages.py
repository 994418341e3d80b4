"""Which layers run as stages: those with which the model fits the SRAM at the least instructions.

A program is cut into single layers and stages; what a cut costs is the sum over its parts, so the
best one for a limit is found by dynamic programming over the places where it may be cut. Parts are
independent but for what lives across them, which is known. Stages of MCUNetV2 (arXiv 2110.15352)
recompute what patches share; strips keep it, and are the cheaper answer wherever they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from tvm_tiny.relay_passes.program import ALIGNMENT, Layer, Program, Stage, Step, aligned
from tvm_tiny.relay_passes.stages import Flow, StageMaker
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, Overlap

ROWS = (1, 2, 4, 8, 16)  # that layers of a stage may make at a time
LONGEST_STAGE = 40
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
        features: Collection[str] = (),
        called_back: frozenset[str] = frozenset(),
    ) -> None:
        """Inputs of the model in `called_back` arrive row by row."""
        self.program = program
        self.called_back = called_back
        self.maker = StageMaker(program, features, called_back)
        self.life = _Life(program, called_back)
        self.stages: dict[tuple[int, int, int], _Sketch | None] = {}

    def within(self, limit: int) -> Found | None:
        """The fastest cut of which no step needs more than `limit` bytes; None if there is none."""
        count = len(self.program.steps)
        best: list[tuple[float, tuple[Part, ...]] | None] = [(0, ())] + [None] * count
        for first in range(count):
            begun = best[first]
            if begun is None:
                continue
            for last, part in self._parts(first, limit):
                total = begun[0] + part.instructions
                known = best[last]
                if known is None or total < known[0]:
                    best[last] = (total, (*begun[1], part))
        end = best[count]
        return None if end is None else self._found([*end[1]])

    def smallest(self) -> Found:
        """The cut whose largest step is the smallest, of those the fastest."""
        low, high = 0, self.enough
        found = self.within(high)
        while low + ALIGNMENT < high and found is not None:
            middle = (low + high) // 2
            better = self.within(middle)
            if better is None:
                low = middle
            else:
                found, high = better, min(middle, better.peak_bytes)
        assert found is not None, "single layers always have room at the bytes of the largest"
        return found

    @property
    def enough(self) -> int:
        """Bytes with which every layer has room."""
        return max(self.life.single(i, s.chosen) for i, s in enumerate(self._layers))

    @property
    def largest_layer(self) -> str:
        """The layer that needs the most memory when it runs alone."""
        sizes = {s.name: self.life.single(i, s.chosen) for i, s in enumerate(self._layers)}
        return max(sizes, key=lambda name: sizes[name])

    @cached_property
    def _layers(self) -> list[Layer]:
        return [step for step in self.program.steps if isinstance(step, Layer)]

    def _parts(self, first: int, limit: int) -> Iterator[tuple[int, Part]]:
        """Parts that begin with a layer and have room, with the step behind them."""
        single = self._single(first, limit)
        if single is not None:
            yield first + 1, single
        longest = min(first + LONGEST_STAGE, len(self.program.steps))
        for last in range(first + 1, longest + 1):
            if not self._is_useful(first, last, limit):
                continue
            part = self._stage(first, last, limit)
            if part is not None:
                yield last, part

    def _is_useful(self, first: int, last: int, limit: int) -> bool:
        """Whether a layer needs help: has no room, or reads what arrives row by row."""
        layers = enumerate(self._layers[first:last], first)
        return any(
            self.life.single(i, layer.chosen) > limit or self._reads_call_back(layer)
            for i, layer in layers
        )

    def _reads_call_back(self, layer: Layer) -> bool:
        return bool(self.called_back & set(layer.inputs))

    def _single(self, index: int, limit: int) -> Part | None:
        """A layer alone, with its fastest kernel for which there is room."""
        layer = self._layers[index]
        if self._reads_call_back(layer):
            return None
        fitting = _up_to(layer, lambda c: self.life.single(index, c) <= limit)
        chosen = next((candidate for candidate in fitting if candidate.kernel), None)
        if chosen is None:
            return None
        step = replace(layer, chosen=chosen, candidates=fitting)
        return Part(step, self.life.single(index, chosen), chosen.instructions)

    def _stage(self, first: int, last: int, limit: int) -> Part | None:
        """The stage of these layers that makes the most rows at a time."""
        best = None
        for rows in ROWS:
            sketch = self._sketch(first, last, rows)
            if sketch is None or sketch.bytes_live > limit:
                break
            part = sketch.fitted(limit)
            if part is not None and (best is None or part.instructions < best.instructions):
                best = part
        return best

    def _sketch(self, first: int, last: int, rows: int) -> _Sketch | None:
        key = (first, last, rows)
        if key not in self.stages:
            made = self.maker.make(first, last, rows)
            self.stages[key] = made and _Sketch(*made, self.life.stage(first, last, made[0]))
        return self.stages[key]

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

    def _instructions(self, stage: Stage) -> int:
        total = FIRING * self.flow.firings + MOVED_WORD * self.flow.moved_bytes / 4
        for item in stage.row_layers:
            height = self.flow.rows[item.layer.output].height
            total += item.layer.chosen.instructions * (height // item.rows)
        return round(total)


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
        self.size = {t.storage: aligned(t.spec.nbytes) for t in program.tensors}
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
        shared = 0
        for name, overlap in zip(inputs, overlaps, strict=False):
            storage = self.storage[name]
            if overlap is not None and self.last[storage] < last and storage != made:
                apart = self.size[storage] + self.size[made]
                before = max(-overlap.shift, 0)
                span = max(self.size[storage] + aligned(before), self.size[made])
                shared = max(shared, apart - span)
        return total - shared
