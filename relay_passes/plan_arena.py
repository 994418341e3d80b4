"""Offsets of all tensors in one arena: first fit over several orders, then hill climbing.

The lower bound is the most bytes that are ever live at once; on straight chains it is always met.
Offline memory planning as in Pisarchyk and Lee, "Efficient memory management for deep neural net
inference" (arXiv 2001.03288), whose greedy-by-size order is the first tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm_tiny.relay_passes.program import Program, aligned

CLIMBING_STEPS = 400


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
    """Byte offset of every tensor, the arena's size, and the least size any plan can have."""

    offsets: dict[str, int]
    arena_bytes: int
    lower_bound_bytes: int


def plan_arena(program: Program) -> ArenaPlan:
    """Plan a program's tensors. Inputs are live from the start, outputs to the end."""
    intervals = live_intervals(program)
    bound = lower_bound(intervals)
    offsets = _best(intervals, bound)
    placed = {tensor.name: offsets[tensor.storage] for tensor in program.tensors}
    return ArenaPlan(placed, _height(intervals, offsets), bound)


def live_intervals(program: Program) -> list[Interval]:
    """When each storage is live; step i is layer i."""
    storage = {tensor.name: tensor.storage for tensor in program.tensors}
    sizes = {t.storage: aligned(t.spec.nbytes) for t in program.tensors}
    first = {storage[port.tensor]: 0 for port in program.inputs}
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


def lower_bound(intervals: Sequence[Interval]) -> int:
    """Most bytes live at one step."""
    steps = range(max((i.last for i in intervals), default=0) + 1)
    return max(sum(i.size for i in intervals if i.first <= s <= i.last) for s in steps)


ORDERS: tuple[Callable[[Interval], tuple[int, ...]], ...] = (
    lambda i: (-i.size, i.first),
    lambda i: (-i.size * (i.last - i.first + 1), i.first),
    lambda i: (i.first, -i.size),
    lambda i: (-i.last, -i.size),
    lambda i: (-(i.last - i.first), -i.size),
)


def _best(intervals: Sequence[Interval], bound: int) -> dict[str, int]:
    candidates = [sorted(intervals, key=order) for order in ORDERS]
    plans = [(_height(intervals, _first_fit(order)), order) for order in candidates]
    height, order = min(plans, key=lambda plan: plan[0])
    generator = random.Random(0)  # the same plan on every run
    for _ in range(CLIMBING_STEPS if len(order) > 1 else 0):
        if height == bound:
            break
        trial = list(order)
        i, j = generator.sample(range(len(trial)), 2)
        trial[i], trial[j] = trial[j], trial[i]
        trial_height = _height(intervals, _first_fit(trial))
        if trial_height <= height:
            height, order = trial_height, trial
    return _first_fit(order)


def _first_fit(order: Sequence[Interval]) -> dict[str, int]:
    """Each storage at the lowest offset where nothing live at the same time lies."""
    offsets: dict[str, int] = {}
    placed: list[Interval] = []
    for interval in order:
        offset = 0
        neighbours = (other for other in placed if other.overlaps(interval))
        for other in sorted(neighbours, key=lambda other: offsets[other.name]):
            if offset + interval.size <= offsets[other.name]:
                break
            offset = max(offset, offsets[other.name] + other.size)
        offsets[interval.name] = offset
        placed.append(interval)
    return offsets


def _height(intervals: Sequence[Interval], offsets: dict[str, int]) -> int:
    return max((offsets[i.name] + i.size for i in intervals), default=0)
