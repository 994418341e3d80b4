"""Offsets of all tensors in one arena.

Tensors that live together are disjoint, except that a layer's output may lie over inputs that die
by it, as far as its kernel allows. The lower bound is the most that one step needs.
Offline memory planning as in Pisarchyk and Lee, "Efficient memory management for deep neural net
inference" (arXiv 2001.03288), whose greedy-by-size order is the first tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.relay_passes._overlaps import most_shared, overlap_of
from tvm_tiny.relay_passes._packing import Conflict, Packing, pack
from tvm_tiny.relay_passes.program import ALIGNMENT, Program, aligned
from tvm_tiny.schedules.dialect import Overlap

Overlaps = Mapping[tuple[str, str], Overlap]  # by the storages of an input and of the output


@dataclass(frozen=True)
class Interval:
    """Bytes of a storage and the steps over which it is live, both ends included."""

    name: str
    size: int
    first: int
    last: int

    def overlaps(self, other: Interval) -> bool:
        """Whether both are live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset of every tensor, the arena's size, and the least size any plan can have.

    `peak_tensor_bytes` are the most bytes that tensors other than scratch hold at one step.
    `overlapping` are the (step, input) by number where the output lies over bytes of the input.
    """

    offsets: dict[str, int]
    arena_bytes: int
    lower_bound_bytes: int
    peak_tensor_bytes: int
    overlapping: frozenset[tuple[int, int]] = frozenset()


def plan_arena(program: Program) -> ArenaPlan:
    """Plan a program's tensors. Inputs are live from the start, outputs to the end."""
    intervals = live_intervals(program)
    overlaps = allowed_overlaps(program, intervals)
    needed = needed_bytes(intervals, overlaps)
    offsets = pack(_packing(intervals, overlaps), needed, ALIGNMENT)
    by_storage = {i.name: offset for i, offset in zip(intervals, offsets, strict=True)}
    placed = {t.name: by_storage[t.storage] for t in program.tensors if t.storage in by_storage}
    height = max((placed[i.name] + i.size for i in intervals), default=0)
    peak = _peak_tensor_bytes(program, intervals, placed)
    return ArenaPlan(placed, height, max(needed), peak, _overlapping(program, placed))


def live_intervals(program: Program) -> list[Interval]:
    """When each storage is live; step i is layer i."""
    storage = {tensor.name: tensor.storage for tensor in program.tensors}
    sizes = {t.storage: aligned(t.spec.nbytes) for t in program.tensors}
    first = {storage[p.tensor]: 0 for p in program.inputs if not p.is_called_back}
    last = dict(first)
    for step, layer in enumerate(program.steps):
        first.setdefault(storage[layer.output], step)
        if layer.scratch is not None:
            first[layer.scratch] = last[layer.scratch] = step
        for name in (*layer.inputs, layer.output):
            last[storage[name]] = step
    for port in program.outputs:
        last[storage[port.tensor]] = len(program.steps)
    return [Interval(name, sizes[name], first[name], last[name]) for name in first]


def allowed_overlaps(program: Program, intervals: Sequence[Interval]) -> Overlaps:
    """How outputs may lie over inputs that die by their layer, shifts rounded to the alignment."""
    storage = {tensor.name: tensor.storage for tensor in program.tensors}
    live = {interval.name: interval for interval in intervals}
    found: dict[tuple[str, str], Overlap] = {}
    for number, step in enumerate(program.steps):
        output = storage[step.output]
        for name in {storage[name] for name in step.inputs}:
            meets = live[name].last == live[output].first == number and name != output
            overlap = overlap_of(step, storage, name) if meets else None
            if overlap is not None:
                found[name, output] = overlap
    return found


def needed_bytes(intervals: Sequence[Interval], overlaps: Overlaps) -> list[int]:
    """Bytes that each step needs in any plan: those live, less the most that can be shared."""
    steps = range(max((i.last for i in intervals), default=0) + 1)
    needed = [sum(i.size for i in intervals if i.first <= step <= i.last) for step in steps]
    live = {interval.name: interval for interval in intervals}
    outputs = {output: live[output] for _, output in overlaps}
    for output, interval in outputs.items():
        inputs = [(live[i].size, over) for (i, o), over in overlaps.items() if o == output]
        needed[interval.first] -= most_shared(interval.size, inputs)
    return needed


def _packing(intervals: Sequence[Interval], overlaps: Overlaps) -> Packing:
    conflicts: list[list[Conflict]] = [[] for _ in intervals]
    for number, block in enumerate(intervals):
        for index in range(number):
            other = intervals[index]
            if block.overlaps(other):
                for low, high in _forbidden(other, block, overlaps):
                    conflicts[number].append(Conflict(index, low, high))
                    conflicts[index].append(Conflict(number, -high, -low))
    return Packing(
        tuple(i.size for i in intervals),
        tuple((i.first, i.last) for i in intervals),
        tuple(map(tuple, conflicts)),
    )


def _forbidden(one: Interval, other: Interval, overlaps: Overlaps) -> Iterator[tuple[int, int]]:
    """Open intervals in which the offset of `other` minus that of `one` must not lie."""
    if (other.name, one.name) in overlaps:
        yield from ((-high, -low) for low, high in _forbidden(other, one, overlaps))
        return
    overlap = overlaps.get((one.name, other.name))
    if overlap is None:
        yield -other.size, one.size
    elif overlap.is_exact:
        yield from ((-other.size, 0), (0, one.size))
    elif overlap.shift < one.size:
        yield max(overlap.shift, -other.size), one.size


def _peak_tensor_bytes(
    program: Program, intervals: Sequence[Interval], offsets: Mapping[str, int]
) -> int:
    scratch = {step.scratch for step in program.steps}
    sizes = {tensor.name: tensor.spec.nbytes for tensor in program.tensors}
    tensors = [i for i in intervals if i.name not in scratch]
    steps = range(max((i.last for i in intervals), default=0) + 1)
    return max(
        _covered(
            (offsets[i.name], offsets[i.name] + sizes[i.name])
            for i in tensors
            if i.first <= step <= i.last
        )
        for step in steps
    )


def _covered(ranges: Iterator[tuple[int, int]]) -> int:
    """Bytes in at least one of the ranges."""
    total, end = 0, 0
    for first, last in sorted(ranges):
        total += max(last - max(first, end), 0)
        end = max(end, last)
    return total


def _overlapping(program: Program, offsets: Mapping[str, int]) -> frozenset[tuple[int, int]]:
    sizes = {tensor.name: tensor.spec.nbytes for tensor in program.tensors}

    def are_apart(one: str, other: str) -> bool:
        a, b = offsets[one], offsets[other]
        return a + sizes[one] <= b or b + sizes[other] <= a

    return frozenset(
        (number, index)
        for number, step in enumerate(program.steps)
        for index, name in enumerate(step.inputs)
        if not are_apart(name, step.output)
    )
