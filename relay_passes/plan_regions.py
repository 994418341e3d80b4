"""Two memories, one of them fast and small: the tensors that are read and written most go there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tvm_tiny.relay_passes._arena_bounds import lower_bound, needed_bytes
from tvm_tiny.relay_passes._intervals import Interval, Overlaps, allowed_overlaps, live_intervals
from tvm_tiny.relay_passes._packing import lowest_outside, pack
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, forbidden, packing_of, plan_arena, plan_of
from tvm_tiny.relay_passes.program import ALIGNMENT, Program, layers_of, outputs_of

PROBE_EFFORT = 40_000  # of packing, for each storage that might go to the fast memory

Order = Callable[[Interval], tuple[float, ...]]


def plan_regions(program: Program, fast_bytes: int, arena_bytes: int | None = None) -> ArenaPlan:
    """Plan an arena with a second one of at most `fast_bytes` in fast memory.

    The storages there are those that are read and written most, as far as two orders of filling it
    find them: by accesses of a byte, and by those of all their bytes. Where the others need more
    than `arena_bytes`, storages are preferred that live when too much does; the plan may still
    exceed that limit. The arena has at least `ALIGNMENT` bytes, even if nothing is left for it.
    """
    if fast_bytes < ALIGNMENT:
        return plan_arena(program)
    intervals = live_intervals(program)
    overlaps = allowed_overlaps(program, intervals)
    heat = heat_of(program, intervals)

    def by_heat(interval: Interval) -> tuple[float, ...]:
        return -heat[interval.name], interval.size

    def by_traffic(interval: Interval) -> tuple[float, ...]:
        return -heat[interval.name] * interval.size, interval.size

    def traffic(plan: ArenaPlan) -> float:
        return sum(heat[i.name] * i.size for i in intervals if i.name in plan.fast_tensors)

    orders = (by_heat, by_traffic)
    plans = [_plan(program, intervals, overlaps, fast_bytes, order) for order in orders]
    fitting = [p for p in plans if arena_bytes is None or p.arena_bytes <= arena_bytes]
    if fitting:
        return max(fitting, key=traffic)
    needed = needed_bytes(intervals, overlaps)

    def by_relief(interval: Interval) -> tuple[float, ...]:
        steps = needed[interval.first : interval.last + 1]
        return float(max(steps) <= (arena_bytes or 0)), *by_heat(interval)

    other = _plan(program, intervals, overlaps, fast_bytes, by_relief)
    return min(*plans, other, key=lambda plan: plan.arena_bytes)


def heat_of(program: Program, intervals: Sequence[Interval]) -> dict[str, float]:
    """By storage: how often each of its bytes is read or written, about.

    A multiply-accumulate reads a byte of the layer's scratch, or else of its first input.
    """
    storage = {tensor.name: tensor.storage for tensor in program.tensors}
    nbytes = {tensor.name: tensor.spec.nbytes for tensor in program.tensors}
    moved: Counter[str] = Counter()
    for step in program.steps:
        scratch = (step.scratch,) if step.scratch else ()
        for name in (*step.inputs, *scratch, *scratch, *outputs_of(step)):
            moved[storage[name]] += nbytes[name]
        reads = (*scratch, *step.inputs)[:1]
        for name in reads:
            moved[storage[name]] += sum(layer.macs for layer in layers_of(step))
    return {i.name: moved[i.name] / max(i.size, 1) for i in intervals}


def _plan(
    program: Program,
    intervals: Sequence[Interval],
    overlaps: Overlaps,
    fast_bytes: int,
    order: Order,
) -> ArenaPlan:
    """The plan in which storages go to the fast memory in this order, as long as they fit."""
    fast, placed = _filled(sorted(intervals, key=order), overlaps, fast_bytes)
    rest = [interval for interval in intervals if interval not in fast]
    needed, bound = [0], 0
    if rest:
        shared = _among(rest, overlaps)
        needed, bound = needed_bytes(rest, shared), lower_bound(rest, shared)
    others = pack(packing_of(rest, overlaps), needed, bound, ALIGNMENT)
    height = max((o + i.size for o, i in zip(others, rest, strict=True)), default=0)
    # as if the fast memory lay behind the other, so that what shares bytes is seen
    behind = [height + offset for offset in placed]
    whole = plan_of(program, [*rest, *fast], [*others, *behind], bound)
    storages = {interval.name for interval in fast}
    names = {t.name for t in program.tensors if t.storage in storages}
    return replace(
        whole,
        offsets={n: o - height if n in names else o for n, o in whole.offsets.items()},
        arena_bytes=max(height, ALIGNMENT),
        fast_bytes=whole.arena_bytes - height,
        fast_tensors=frozenset(names),
    )


def _filled(
    intervals: Sequence[Interval], overlaps: Overlaps, limit: int
) -> tuple[list[Interval], list[int]]:
    """Storages, in order, as long as they fit within a limit, and their offsets."""
    fast: list[Interval] = []
    placed: list[int] = []
    for interval in intervals:
        if not 0 < interval.size <= limit:
            continue
        gap = _gap_for(interval, fast, placed, overlaps)
        if gap + interval.size <= limit:
            fast, placed = [*fast, interval], [*placed, gap]
        elif (offsets := _within([*fast, interval], overlaps, limit)) is not None:
            fast, placed = [*fast, interval], offsets
    if not fast:
        return [], []
    packing, shared = packing_of(fast, overlaps), _among(fast, overlaps)
    lowest = pack(packing, needed_bytes(fast, shared), lower_bound(fast, shared), ALIGNMENT)
    return fast, min(lowest, placed, key=packing.height)


def _gap_for(
    interval: Interval, fast: Sequence[Interval], placed: Sequence[int], overlaps: Overlaps
) -> int:
    """The lowest offset that others leave where they are."""
    return lowest_outside(
        sorted(
            (offset + low, offset + high)
            for other, offset in zip(fast, placed, strict=True)
            if interval.overlaps(other)
            for low, high in forbidden(other, interval, overlaps)
        )
    )


def _within(intervals: Sequence[Interval], overlaps: Overlaps, limit: int) -> list[int] | None:
    """Offsets of storages within a limit, if they are found."""
    shared = _among(intervals, overlaps)
    if lower_bound(intervals, shared) > limit:
        return None
    packing = packing_of(intervals, overlaps)
    offsets = pack(packing, needed_bytes(intervals, shared), limit, ALIGNMENT, PROBE_EFFORT)
    return offsets if packing.height(offsets) <= limit else None


def _among(intervals: Sequence[Interval], overlaps: Overlaps) -> Overlaps:
    """Those overlaps whose storages are both among the intervals."""
    names = {interval.name for interval in intervals}
    return {pair: overlap for pair, overlap in overlaps.items() if names.issuperset(pair)}
