"""Offsets of all tensors in one arena.

Tensors that live together are disjoint, except that a layer's output may lie over inputs that die
by it, as far as its kernel allows. The search ends where a lower bound (_arena_bounds.py) is met.
Offline memory planning as in Pisarchyk and Lee, "Efficient memory management for deep neural net
inference" (arXiv 2001.03288), whose greedy-by-size order is the first tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.relay_passes._arena_bounds import lower_bound, needed_bytes
from tvm_tiny.relay_passes._intervals import Interval, Overlaps, allowed_overlaps, live_intervals
from tvm_tiny.relay_passes._packing import Conflict, Packing, pack
from tvm_tiny.relay_passes.program import ALIGNMENT, Program


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset of every tensor, the arena's size, and the least size any plan can have.

    `peak_tensor_bytes` are the most bytes that tensors other than scratch hold at one step.
    `overlapping` are the (step, input) by number where the output lies over bytes of the input.
    `fast_tensors` are those in a second arena of `fast_bytes` in fast memory (plan_regions.py).
    """

    offsets: dict[str, int]
    arena_bytes: int
    lower_bound_bytes: int
    peak_tensor_bytes: int
    overlapping: frozenset[tuple[int, int]] = frozenset()
    fast_bytes: int = 0
    fast_tensors: frozenset[str] = frozenset()


def plan_arena(program: Program) -> ArenaPlan:
    """Plan a program's tensors. Inputs are live from the start, outputs to the end."""
    intervals = live_intervals(program)
    overlaps = allowed_overlaps(program, intervals)
    needed, bound = needed_bytes(intervals, overlaps), lower_bound(intervals, overlaps)
    offsets = pack(packing_of(intervals, overlaps), needed, bound, ALIGNMENT)
    return plan_of(program, intervals, offsets, bound)


def plan_of(
    program: Program, intervals: Sequence[Interval], offsets: Sequence[int], bound: int
) -> ArenaPlan:
    """The plan that gives each storage its offset, where none can need less than `bound`."""
    by_storage = {i.name: offset for i, offset in zip(intervals, offsets, strict=True)}
    in_arena = [t for t in program.tensors if t.storage in by_storage and not t.is_state]
    placed = {t.name: by_storage[t.storage] for t in in_arena}
    height = max((placed[i.name] + i.size for i in intervals if i.name in placed), default=0)
    peak = _peak_tensor_bytes(program, intervals, placed)
    return ArenaPlan(placed, height, bound, peak, _overlapping(program, placed))


def packing_of(intervals: Sequence[Interval], overlaps: Overlaps) -> Packing:
    """The storages as blocks, their conflicts as what liveness and overlaps leave."""
    conflicts: list[list[Conflict]] = [[] for _ in intervals]
    for number, block in enumerate(intervals):
        for index in range(number):
            other = intervals[index]
            if block.overlaps(other):
                for low, high in forbidden(other, block, overlaps):
                    conflicts[number].append(Conflict(index, low, high))
                    conflicts[index].append(Conflict(number, -high, -low))
    return Packing(
        tuple(i.size for i in intervals),
        tuple((i.first, i.last) for i in intervals),
        tuple(map(tuple, conflicts)),
    )


def forbidden(one: Interval, other: Interval, overlaps: Overlaps) -> Iterator[tuple[int, int]]:
    """Open intervals in which the offset of `other` minus that of `one` must not lie."""
    if (other.name, one.name) in overlaps:
        yield from ((-high, -low) for low, high in forbidden(other, one, overlaps))
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
    tensors = [i for i in intervals if i.name in offsets and i.name not in scratch]
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
        if name in offsets and step.output in offsets and not are_apart(name, step.output)
    )
