"""What each pass saves: the bytes that a program needs before and after it."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.relay_passes._arena_bounds import needed_bytes
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.program import Program


@dataclass(frozen=True)
class MemoryStep:
    """The least arena of a program once a pass has done its work."""

    name: str
    bytes_needed: int


def memory_steps(listed: Program, ordered: Program, fitted: Program) -> tuple[MemoryStep, ...]:
    """From the layers as the model lists them to those that are generated."""
    return (
        MemoryStep("as listed", _needed(listed, in_place=False)),
        MemoryStep("in order", _needed(ordered, in_place=False)),
        MemoryStep("in place", _needed(ordered, in_place=True)),
        MemoryStep("in parts", _needed(fitted, in_place=True)),
    )


def _needed(program: Program, in_place: bool) -> int:
    intervals = live_intervals(program)
    overlaps = allowed_overlaps(program, intervals) if in_place else {}
    return max(needed_bytes(intervals, overlaps))
