"""How many bytes of a step's output may also be bytes of inputs that die by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_tiny.relay_passes.program import ALIGNMENT, Step
from tvm_tiny.schedules.dialect import Overlap


def overlap_of(step: Step, storage_of: Mapping[str, str], name: str) -> Overlap | None:
    """What all uses of a storage by a step allow together, in offsets of the arena."""
    uses = zip(step.inputs, step.overlaps, strict=True)
    allowed = [overlap for used, overlap in uses if storage_of[used] == name]
    shifts = [o.shift // ALIGNMENT * ALIGNMENT for o in allowed if o is not None and not o.is_exact]
    shift, is_exact = min(shifts, default=0), len(shifts) < len(allowed)
    is_possible = None not in allowed and (not is_exact or shift >= 0)
    return Overlap(0 if is_exact else shift, is_exact) if is_possible else None


def most_shared(size: int, inputs: Sequence[tuple[int, Overlap]]) -> int:
    """Bytes of an output of `size` bytes that can also be bytes of its inputs, at the most.

    At most one input lies exactly under it; the others begin at least by their shift behind it.
    """
    exact = [0, *(min(size, other) for other, overlap in inputs if overlap.is_exact)]
    swept = [(other, min(overlap.shift, 0)) for other, overlap in inputs if not overlap.is_exact]
    room = max((size + shift for _, shift in swept), default=0)
    behind = min(max(room, 0), sum(max(min(o, size + s), 0) for o, s in swept))
    return min(size, max(exact) + behind)
