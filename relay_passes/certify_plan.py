"""Proof that a plan of the arena is optimal, or a better one: OR-tools' CP-SAT solver, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tvm_tiny.errors import MissingExtraError
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes._packing import Packing
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, packing_of, plan_of
from tvm_tiny.relay_passes.program import ALIGNMENT, Program

OPTIMAL, BETTER, UNDECIDED = "optimal", "better", "undecided"


@dataclass(frozen=True)
class Certificate:
    """What is known of a plan.

    The verdict is "optimal" (no plan needs less), "better" (`plan` is another, which needs less)
    or "undecided". No plan needs less than `proven_bytes`.
    """

    verdict: str
    plan: ArenaPlan
    proven_bytes: int

    @property
    def is_optimal(self) -> bool:
        """Whether `plan`, the given one or a better one, is proven to need the least."""
        return self.plan.arena_bytes == self.proven_bytes


def certify(program: Program, plan: ArenaPlan, seconds: float = 10.0) -> Certificate:
    """Prove a program's plan optimal, or find a better one, within a time limit.

    A plan that meets its lower bound is optimal, and no solver is asked. Raises MissingExtraError
    where one is needed and OR-tools is not installed.
    """
    if plan.arena_bytes == plan.lower_bound_bytes:
        return Certificate(OPTIMAL, plan, plan.arena_bytes)
    intervals = live_intervals(program)
    packing = packing_of(intervals, allowed_overlaps(program, intervals))
    given = [plan.offsets[interval.name] for interval in intervals]
    offsets, proven = _lowest(packing, given, plan.lower_bound_bytes, seconds)
    if packing.height(offsets) < plan.arena_bytes:
        better = plan_of(program, intervals, offsets, plan.lower_bound_bytes)
        return Certificate(BETTER, better, proven)
    return Certificate(OPTIMAL if proven == plan.arena_bytes else UNDECIDED, plan, proven)


def _lowest(
    packing: Packing, given: Sequence[int], bound: int, seconds: float
) -> tuple[list[int], int]:
    """The lowest offsets found, from the `given` ones on, and the height proven to be needed."""
    cp = _solver()
    model, height, places = _model_of(cp, packing, given, bound)
    model.minimize(height)
    solver = cp.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.random_seed = 0
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    proven = max(bound, round(solver.best_objective_bound) * ALIGNMENT)
    if status not in (cp.OPTIMAL, cp.FEASIBLE):
        return list(given), proven
    return [solver.value(place) * ALIGNMENT for place in places], proven


def _model_of(
    cp: Any, packing: Packing, given: Sequence[int], bound: int
) -> tuple[Any, Any, list[Any]]:
    """The solver's model, its variable for the height and those for offsets, in units."""
    model = cp.CpModel()
    highest = packing.height(given) // ALIGNMENT
    height = model.new_int_var(bound // ALIGNMENT, highest, "height")
    places = []
    for block, (size, offset) in enumerate(zip(packing.sizes, given, strict=True)):
        place = model.new_int_var(0, highest - size // ALIGNMENT, f"offset_{block}")
        model.add(place + size // ALIGNMENT <= height)
        model.add_hint(place, offset // ALIGNMENT)
        places.append(place)
    for block, conflicts in enumerate(packing.conflicts):
        for other, low, high in conflicts:
            if other < block:
                is_above = model.new_bool_var(f"above_{block}_{other}")
                distance = places[block] - places[other]
                model.add(distance >= high // ALIGNMENT).only_enforce_if(is_above)
                model.add(distance <= low // ALIGNMENT).only_enforce_if(~is_above)
    return model, height, places


def _solver() -> Any:
    try:
        return import_module("ortools.sat.python.cp_model")
    except ImportError as error:
        raise MissingExtraError(
            "the proof that a plan is optimal needs OR-tools",
            hint="pip install 'tvm_tiny[planner]'",
        ) from error
