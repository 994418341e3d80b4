from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

from tests.relay_passes.test_plan_arena import EXACT, chain, program
from tests.support.programs import drifting_program, random_program, wild_program
from tests.support.quick import quick_first
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, plan_arena
from tvm_tiny.relay_passes.plan_regions import heat_of, plan_regions
from tvm_tiny.relay_passes.program import ALIGNMENT, Program, aligned


def check(plan: ArenaPlan, graph: Program, fast_bytes: int) -> None:
    """Assert that storages are inside their memories, and apart there unless they may share."""
    intervals = live_intervals(graph)
    assert plan.fast_bytes <= fast_bytes
    for one in intervals:
        limit = plan.fast_bytes if one.name in plan.fast_tensors else plan.arena_bytes
        assert plan.offsets[one.name] % ALIGNMENT == 0
        assert 0 <= plan.offsets[one.name] <= limit - one.size
    allowed = allowed_overlaps(graph, intervals)
    for one, other in combinations(intervals, 2):
        is_beside = (one.name in plan.fast_tensors) != (other.name in plan.fast_tensors)
        a, b = plan.offsets[one.name], plan.offsets[other.name]
        are_apart = is_beside or a + one.size <= b or b + other.size <= a
        if one.overlaps(other) and not are_apart:
            assert {(one.name, other.name), (other.name, one.name)} & set(allowed)


@quick_first("grown", [random_program, wild_program, drifting_program])
@quick_first("part", [0.5, 0.1, 0.9])
def test_limits_hold(grown: Callable[[int, int], Program], part: float) -> None:
    for seed in range(8):
        graph = grown(seed, 5 + seed * 3)
        alone = plan_arena(graph)
        fast_bytes = aligned(int(alone.arena_bytes * part))
        plan = plan_regions(graph, fast_bytes)
        check(plan, graph, fast_bytes)
        assert plan.arena_bytes <= alone.arena_bytes
        assert plan == plan_regions(graph, fast_bytes)


def test_without_fast_memory_the_plan_is_the_same() -> None:
    graph = random_program(1, 10)
    assert plan_regions(graph, 0) == plan_regions(graph, ALIGNMENT - 1) == plan_arena(graph)


def test_all_fits_into_the_fast_memory() -> None:
    graph = chain([64, 64, 64], EXACT)
    plan = plan_regions(graph, 64)
    assert plan.fast_tensors == {"t0", "t1", "t2"}
    assert (plan.fast_bytes, plan.arena_bytes) == (64, ALIGNMENT)
    assert plan.overlapping == {(0, 0), (1, 0)}


def test_the_hottest_are_in_the_fast_memory() -> None:
    """A tensor that four layers read, beside ones that are written and read once."""
    graph = program(
        [160, 64, 160, 160, 160, 16],
        [([0], 1), ([1], 2), ([1], 3), ([1], 4), ([1, 2, 3, 4], 5)],
    )
    heat = heat_of(graph, live_intervals(graph))
    assert heat["t1"] == 5 and heat["t2"] == 2
    plan = plan_regions(graph, 64)
    assert "t1" in plan.fast_tensors and "t2" not in plan.fast_tensors


def test_a_view_is_where_its_storage_is() -> None:
    graph = program([64, 64, 64, 64], [([0], 2), ([1, 2], 3)], {1: 0})
    plan = plan_regions(graph, 64)
    assert ("t0" in plan.fast_tensors) == ("t1" in plan.fast_tensors)
    assert plan.offsets["t1"] == plan.offsets["t0"]


def test_the_fast_memory_relieves_the_other() -> None:
    """A cold residual lives while too much does; the hot ones alone would not help."""
    edges = [([0], 1), ([1], 2), ([2], 3), ([3], 4), ([4, 0], 5)]
    graph = program([320, 320, 320, 32, 32, 320], edges)
    alone = plan_arena(graph).arena_bytes
    limit = alone - 320
    plan = plan_regions(graph, 320, limit)
    check(plan, graph, 320)
    assert plan.arena_bytes <= limit
