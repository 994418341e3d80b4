from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.relay_passes.test_plan_arena import chain, check
from tests.support.programs import drifting_program, random_program, wild_program
from tests.support.quick import quick_first
from tvm_tiny.errors import MissingExtraError
from tvm_tiny.relay_passes._arena_bounds import lower_bound
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.certify_plan import BETTER, OPTIMAL, UNDECIDED, certify
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, plan_arena
from tvm_tiny.relay_passes.program import Program
from tvm_tiny.schedules.dialect import Overlap


def unbounded(plan: ArenaPlan) -> ArenaPlan:
    """Return the plan as if nothing were known of what any needs."""
    return replace(plan, lower_bound_bytes=0)


def spread(program: Program) -> ArenaPlan:
    """Return a plan that shares nothing."""
    intervals = live_intervals(program)
    ends = [sum(i.size for i in intervals[:n]) for n in range(len(intervals) + 1)]
    offsets = dict(zip((i.name for i in intervals), ends, strict=False))
    return ArenaPlan(offsets, ends[-1], 0, ends[-1])


def test_a_plan_at_its_bound_is_optimal_without_a_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools", None)
    graph = chain([100, 200, 300])
    certificate = certify(graph, plan_arena(graph))
    assert (certificate.verdict, certificate.is_optimal) == (OPTIMAL, True)


def test_the_error_without_or_tools_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ortools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ortools", None)
    graph = chain([100, 200, 300])
    with pytest.raises(MissingExtraError, match=r"pip install 'tvm_tiny\[planner\]'"):
        certify(graph, unbounded(plan_arena(graph)))


def test_an_optimal_plan_is_proven() -> None:
    pytest.importorskip("ortools")
    graph = chain([160] * 4, Overlap(-20))
    plan = unbounded(plan_arena(graph))
    certificate = certify(graph, plan)
    assert certificate.verdict == OPTIMAL and certificate.plan == plan
    assert certificate.proven_bytes == plan.arena_bytes == 160 + 3 * 32


def test_a_better_plan_is_found() -> None:
    pytest.importorskip("ortools")
    graph = random_program(3, 10)
    certificate = certify(graph, spread(graph))
    assert certificate.verdict == BETTER and certificate.is_optimal
    check(certificate.plan, graph)
    assert certificate.plan.arena_bytes == plan_arena(graph).arena_bytes


def test_without_time_nothing_is_decided() -> None:
    pytest.importorskip("ortools")
    graph = wild_program(1, 40)
    plan = spread(graph)
    certificate = certify(graph, plan, seconds=0)
    assert certificate.verdict == UNDECIDED and certificate.plan == plan
    assert certificate.proven_bytes < plan.arena_bytes


@quick_first("grown", [drifting_program, wild_program, random_program])
def test_no_plan_needs_less_than_the_bound(grown: Callable[[int, int], Program]) -> None:
    """The solver knows nothing of the bound."""
    pytest.importorskip("ortools")
    for seed in range(30):
        graph = grown(seed, 4 + seed % 5)
        intervals = live_intervals(graph)
        bound = lower_bound(intervals, allowed_overlaps(graph, intervals))
        certificate = certify(graph, unbounded(plan_arena(graph)))
        assert certificate.is_optimal and bound <= certificate.plan.arena_bytes
