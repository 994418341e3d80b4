"""The choice of kernels of least cost under the limits, proven: OR-tools' CP-SAT, an extra.

Each layer takes one candidate. What kernels share counts once in the Flash: each piece is a
variable that is set with the first kernel that needs it. Each step alone must have room in the
arena, which excludes candidates; whether all steps together have, only a plan tells. A choice whose
plan does not fit is cut off together with all that need as much where it does not, and the solver
is asked again. So "optimal" is: no choice that this planner has room for costs less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from tvm_tiny.relay_passes._arena_bounds import needed_bytes
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.choose_kernels import Choice, Limits, choose_kernels, flash_limit
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Layer, Program, Stage, Step, layers_of
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Candidate

OPTIMAL, FEASIBLE, GREEDY = "optimal", "feasible", "greedy"
EFFORT = 20.0  # of the solver, in its own deterministic seconds: the same choice on every machine
CUTS = 60  # choices whose plan may turn out too large
NEAR = 0.75  # parts of the arena up to which a step is no suspect when a plan does not fit


def choose_exactly(program: Program, limits: Limits, effort: float = EFFORT) -> Program:
    """The program with the kernels of least cost; its `proof` says what is known of them.

    "optimal" is proven, "feasible" the best that was found. "greedy" is the choice of
    `choose_kernels`: without OR-tools, for the goal "size", whose price for bytes is no limit, and
    where nothing fits. No choice costs more than that one, if that one fits.
    """
    greedy = choose_kernels(program, limits)
    if limits.goal == "size":
        return replace(greedy, proof=GREEDY)
    problem = _Problem(program, flash_limit(program, limits), limits.arena_bytes)
    given = tuple(layer.chosen for layer in greedy.layers)
    if problem.is_unbounded(given):
        return replace(greedy, proof=OPTIMAL)
    solver = _solver()
    if solver is None:
        return replace(greedy, proof=GREEDY)
    choice, proof = _solved(problem, solver, given, effort)
    return replace(greedy if choice is None else program.with_kernels(choice), proof=proof)


def total_cost(program: Program) -> int:
    """What all kernels of a program cost, each as often as it runs."""
    runs = runs_of(program)
    return sum(n * layer.chosen.cost for n, layer in zip(runs, program.layers, strict=True))


def runs_of(program: Program) -> list[int]:
    """How often each layer's kernel runs for one inference: in stages, once for each part."""
    return [count for step in program.steps for count in _runs(step)]


def _runs(step: Step) -> Iterator[int]:
    if isinstance(step, Layer):
        yield 1
    elif isinstance(step, Stage):
        heights = {rows.name: rows.height for rows in step.rows}
        yield from (-(-heights[i.layer.output] // i.rows) for i in step.row_layers)
    else:
        yield from [len(step.rows) * len(step.columns)] * len(layers_of(step))


@dataclass(frozen=True)
class _Problem:
    """A program's candidates, and the limits; None is no limit."""

    program: Program
    flash_bytes: int | None
    arena_bytes: int | None

    @cached_property
    def layers(self) -> list[list[Candidate]]:
        """For each layer the candidates that are able, and with which its step has room."""
        found = []
        for number, step in enumerate(self.program.steps):
            for place, layer in enumerate(layers_of(step)):
                able = [c for c in layer.candidates or (layer.chosen,) if c.kernel is not None]
                found.append(self._with_room(number, place, able))
        return found

    def is_unbounded(self, choice: Choice) -> bool:
        """Whether each layer has its cheapest kernel, and all fit: then nothing is to be solved."""
        return all(
            chosen.cost <= other.cost or other.kernel is None  # costs are there, kernels are made
            for layer, chosen in zip(self.program.layers, choice, strict=True)
            for other in layer.candidates
        ) and self.fits(choice)

    def fits(self, choice: Choice) -> bool:
        """Whether a choice keeps both limits."""
        flash = costs.flash_bytes(candidate.pieces for candidate in choice)
        return (self.flash_bytes is None or flash <= self.flash_bytes) and self.has_plan(choice)

    def has_plan(self, choice: Choice) -> bool:
        """Whether the arena has room."""
        if self.arena_bytes is None:
            return True
        return plan_arena(self.program.with_kernels(choice)).arena_bytes <= self.arena_bytes

    def _with_room(self, number: int, place: int, able: list[Candidate]) -> list[Candidate]:
        if self.arena_bytes is None:
            return able
        rooms: dict[Hashable, bool] = {}
        for candidate in able:
            key = _memory(candidate)
            if key not in rooms:
                rooms[key] = self._needed(number, place, candidate) <= self.arena_bytes
        return [candidate for candidate in able if rooms[_memory(candidate)]]

    def _needed(self, number: int, place: int, candidate: Candidate) -> int:
        """Bytes that a step needs with a kernel; other layers of it have their least scratch."""
        before = sum(len(layers_of(step)) for step in self.program.steps[:number])
        layers = self.program.layers
        choice = [layer.chosen for layer in layers]
        for index, layer in enumerate(layers_of(self.program.steps[number]), before):
            choice[index] = _least(layer.candidates or (layer.chosen,))
        choice[before + place] = candidate
        program = self.program.with_kernels(choice)
        live = live_intervals(program)
        return needed_bytes(live, allowed_overlaps(program, live))[number]

    def conflict(self, choice: Choice) -> list[int]:
        """Layers whose kernels need too much together: with less for any of them, all fit.

        Empty where it does not fit with the least for all.
        """
        smallest = tuple(map(_least, self.layers))
        differ = [i for i, (c, s) in enumerate(zip(choice, smallest, strict=True)) if c != s]
        suspects = [i for i in differ if i in self._large(choice)]
        tried = _changed(choice, smallest, [i for i in differ if i not in suspects])
        if self.has_plan(tried):
            suspects, tried = differ, choice
        for index in list(suspects):
            other = _changed(tried, smallest, [index])
            if not self.has_plan(other):
                suspects.remove(index)
                tried = other
        return suspects

    def _large(self, choice: Choice) -> set[int]:
        """Layers of steps that need much of the arena."""
        assert self.arena_bytes is not None
        program = self.program.with_kernels(choice)
        live = live_intervals(program)
        needed = needed_bytes(live, allowed_overlaps(program, live))
        pairs = zip(needed, program.numbered_steps(), strict=False)
        near = [ends for bytes_, ends in pairs if bytes_ > NEAR * self.arena_bytes]
        return {index for first, last, _ in near for index in range(first, last + 1)}


def _memory(candidate: Candidate) -> Hashable:
    """What of a kernel the arena's plan depends on."""
    assert candidate.kernel is not None
    return candidate.scratch_bytes, candidate.kernel.overlaps


def _least(candidates: Sequence[Candidate]) -> Candidate:
    return min((c for c in candidates if c.kernel), key=lambda c: c.scratch_bytes)


def _changed(choice: Choice, smallest: Choice, indices: Sequence[int]) -> Choice:
    return tuple(smallest[i] if i in indices else c for i, c in enumerate(choice))


def _solver() -> Any:
    """OR-tools' module, if it is installed."""
    try:
        return import_module("ortools.sat.python.cp_model")
    except ImportError:
        return None


def _solved(problem: _Problem, cp: Any, given: Choice, effort: float) -> tuple[Choice | None, str]:
    """The best choice and what is known of it; None where nothing fits."""
    best = given if problem.fits(given) else None
    if not all(problem.layers):
        return best, GREEDY
    model, taken = _model_of(cp, problem, given)
    for _ in range(CUTS):
        solver = cp.CpSolver()
        solver.parameters.max_deterministic_time = effort
        solver.parameters.random_seed = 0
        solver.parameters.num_workers = 1
        status = solver.solve(model)
        if status not in (cp.OPTIMAL, cp.FEASIBLE):
            break
        choice = tuple(
            next(c for c, variable in zip(able, variables, strict=True) if solver.value(variable))
            for able, variables in zip(problem.layers, taken, strict=True)
        )
        if problem.has_plan(choice):
            return _cheaper(problem, choice, best), OPTIMAL if status == cp.OPTIMAL else FEASIBLE
        layers = problem.conflict(choice)
        if not layers:
            break
        model.add_bool_or(_smaller(problem, taken, choice, layers))
    return best, GREEDY


def _cheaper(problem: _Problem, choice: Choice, other: Choice | None) -> Choice:
    """A choice, or another one, where the solver was stopped before it found as good a one."""
    choices = [choice] if other is None else [choice, other]
    return min(choices, key=lambda c: total_cost(problem.program.with_kernels(c)))


def _model_of(cp: Any, problem: _Problem, given: Choice) -> tuple[Any, list[list[Any]]]:
    """The solver's model, and a variable for each candidate of each layer."""
    model, taken = cp.CpModel(), []
    for layer, (able, chosen) in enumerate(zip(problem.layers, given, strict=True)):
        variables = [model.new_bool_var(f"{layer}_{n}") for n in range(len(able))]
        model.add_exactly_one(variables)
        for candidate, variable in zip(able, variables, strict=True):
            model.add_hint(variable, candidate is chosen)
        taken.append(variables)
    if problem.flash_bytes is not None:
        model.add(_flash(model, problem, taken) <= problem.flash_bytes)
    runs = runs_of(problem.program)
    model.minimize(
        sum(
            count * candidate.cost * variable
            for count, able, variables in zip(runs, problem.layers, taken, strict=True)
            for candidate, variable in zip(able, variables, strict=True)
        )
    )
    return model, taken


def _flash(model: Any, problem: _Problem, taken: list[list[Any]]) -> Any:
    """Bytes of Flash: of pieces that one candidate alone has, with it; of others, once."""
    everyone = [candidate for able in problem.layers for candidate in able]
    uses = Counter(piece for candidate in everyone for piece in candidate.pieces)
    shared: dict[Hashable, Any] = {}
    total = costs.flash_bytes([{}] * len(problem.layers))
    for candidate, variable in zip(everyone, (v for row in taken for v in row), strict=True):
        for piece, size in candidate.pieces.items():
            if uses[piece] == 1:
                total += size * variable
                continue
            if piece not in shared:
                shared[piece] = model.new_bool_var(f"piece_{len(shared)}")
                total += size * shared[piece]
            model.add_implication(variable, shared[piece])
    return total


def _smaller(
    problem: _Problem, taken: list[list[Any]], choice: Choice, layers: Sequence[int]
) -> list[Any]:
    """Variables of candidates of some layers that may need less than the chosen ones."""
    return [
        variable
        for index in layers
        for candidate, variable in zip(problem.layers[index], taken[index], strict=True)
        if not _needs_as_much(candidate, choice[index])
    ]


def _needs_as_much(candidate: Candidate, chosen: Candidate) -> bool:
    assert candidate.kernel is not None and chosen.kernel is not None
    is_alike = candidate.kernel.overlaps == chosen.kernel.overlaps
    return is_alike and candidate.scratch_bytes >= chosen.scratch_bytes
