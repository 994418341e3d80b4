"""When each storage is live, and which may share bytes although both are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.relay_passes._overlaps import overlap_of
from tvm_tiny.relay_passes.program import Program, outputs_of
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


def live_intervals(program: Program) -> list[Interval]:
    """When each storage is live; step i is layer i."""
    storage = {tensor.name: tensor.storage for tensor in program.tensors}
    sizes = {t.storage: t.arena_bytes for t in program.tensors}
    first = {storage[p.tensor]: 0 for p in program.inputs if not p.is_called_back}
    last = dict(first)
    for step, layer in enumerate(program.steps):
        for name in outputs_of(layer):
            first.setdefault(storage[name], step)
        if layer.scratch is not None:
            first[layer.scratch] = last[layer.scratch] = step
        for name in (*layer.inputs, *outputs_of(layer)):
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
