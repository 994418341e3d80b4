"""Which points of a layer's space are measured next: MetaSchedule's evolutionary search, or chance.

A layer is a `ScheduleFn` space over its workload (database.py): one design for each variant, whose
`sample_categorical` decides the options; block annotations say which point that is.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule

from tvm_tiny.tuning.cost_model import CostModel
from tvm_tiny.tuning.database import BLOCK, Version, workload_of
from tvm_tiny.tuning.features import features_of, prior
from tvm_tiny.tuning.tasks import Task

_POINT = "tiny.index"
_NO_RESULT = float("inf")
_TENSOR_INTRINSICS = "tvm.s_tir.tensor_intrin"
_SECONDS = 1e-9  # for a cycle
_MOST_ROUNDS = 2  # without a new point, until the search is taken to be at its end

Costs = dict[int, float]  # by a point's index; infinite where there is no result


class Search(Protocol):
    """Proposes points of a task, told what those before gave."""

    def propose(self, count: int) -> list[int]:
        """Up to so many points that were not measured; none at the end."""

    def tell(self, costs: Costs) -> None:
        """Take results in."""


class RandomSearch:
    """All points in an order of chance."""

    def __init__(self, task: Task, seed: int) -> None:
        """The order depends on the seed alone."""
        self._left = list(np.random.default_rng(seed).permutation(len(task.points)))
        self._told: set[int] = set()

    def propose(self, count: int) -> list[int]:
        """The next ones."""
        self._left = [point for point in self._left if point not in self._told]
        taken, self._left = self._left[:count], self._left[count:]
        return [int(point) for point in taken]

    def tell(self, costs: Costs) -> None:
        """Remember what need not be proposed."""
        self._told |= set(costs)


class EvolutionarySearch:
    """MetaSchedule's search with a cost model that all tasks share."""

    def __init__(
        self, task: Task, version: Version, model: CostModel, seed: int, core: str
    ) -> None:
        """`core` names the cycles of the table of costs that are the model's prior."""
        self.task, self.core, self.model = task, core, model
        self._told: dict[int, float] = {}
        self._learned, self._predicted = -1, np.zeros(0)
        self._rows = [features_of(task, point) for point in task.points]
        self._priors = [prior(point, core) for point in task.points]
        self._cost_model = _SharedModel(self)
        self._memory = meta_schedule.database.MemoryDatabase()
        self._context = _context(task, version, seed)
        self._workload = self._memory.commit_workload(self._context.mod)
        designs = self._context.generate_design_space()
        self._context.pre_tuning(1 << 16, 1, designs, self._memory, self._cost_model)
        self._candidates: dict[int, Any] = {}

    def propose(self, count: int) -> list[int]:
        """The best by the model, among what evolution comes to."""
        found: list[int] = []
        idle = 0
        while len(found) < count and idle < _MOST_ROUNDS:
            candidates = self._context.generate_measure_candidates()
            if candidates is None:
                break
            points = [point_of(candidate.sch) for candidate in candidates]
            self._candidates |= dict(zip(points, candidates, strict=True))
            new = [p for p in points if p not in self._told and p not in found]
            found += new
            idle = 0 if new else idle + 1
            self._notify(points, candidates)
        return found or self._best_left(count)

    def _best_left(self, count: int) -> list[int]:
        """Points that evolution did not come to."""
        left = [point for point in range(len(self.task.points)) if point not in self._told]
        predicted = self.predicted(left)
        return [left[i] for i in np.argsort(predicted, kind="stable")[:count]]

    def _notify(self, points: Sequence[int], candidates: Sequence[Any]) -> None:
        results = [_result(self._told.get(point, _NO_RESULT)) for point in points]
        self._context.notify_runner_results(list(candidates), results)

    def tell(self, costs: Costs) -> None:
        """Teach the model, and keep good points for evolution."""
        new = {point: cost for point, cost in costs.items() if point not in self._told}
        self._told |= new
        rows = [self._rows[point] for point in new]
        self.model.learn(rows, [self._priors[point] for point in new], list(new.values()))
        for point, cost in new.items():
            if point in self._candidates and np.isfinite(cost):
                self._commit(self._candidates[point], cost)

    def _commit(self, candidate: Any, cost: float) -> None:
        record = meta_schedule.database.TuningRecord(
            candidate.sch.trace,
            self._workload,
            [cost * _SECONDS],
            self._context.target,
            candidate.args_info,
        )
        self._memory.commit_tuning_record(record)

    def predicted(self, points: Sequence[int]) -> list[float]:
        """Logarithms of the cycles of points."""
        if self._learned != len(self.model.rows):  # since the model was asked
            self._predicted = self.model.predict(self._rows, self._priors)
            self._learned = len(self.model.rows)
        return [float(self._predicted[point]) for point in points]


def point_of(schedule: Any) -> int:
    """The point that a schedule stands for, by its trace: blocks take longer to read."""
    trace = schedule.trace
    step = next(step for step in trace.insts if step.kind.name == "SampleCategorical")
    return int(step.attrs[0][int(trace.decisions[step])])


def _result(cost: float) -> Any:
    if np.isfinite(cost):
        return meta_schedule.runner.RunnerResult([cost * _SECONDS], None)
    return meta_schedule.runner.RunnerResult(None, "not measured")


def _space_of(task: Task) -> Callable[[Any], list[Any]]:
    """A design for each variant; what is sampled is the number of one of its points."""
    variants: dict[str, list[int]] = {}
    for number, point in enumerate(task.points):
        variants.setdefault(point.variant, []).append(number)

    def space(schedule: Any) -> list[Any]:
        designs = []
        for numbers in variants.values():
            design = schedule.copy()
            block = design.get_sblock(BLOCK, func_name="main")
            chance = [1.0 / len(numbers)] * len(numbers)
            design.annotate(block, _POINT, design.sample_categorical(numbers, chance))
            designs.append(design)
        return designs

    return space


@derived_object
class _OtherOption(meta_schedule.mutator.PyMutator):
    """Decides the one `sample_categorical` of a trace anew."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.random = np.random.default_rng(seed)

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, trace: Any, _state: int) -> Any:
        for step in trace.insts:
            if step.kind.name == "SampleCategorical" and len(step.attrs[0]) > 1:
                count, old = len(step.attrs[0]), int(trace.decisions[step])
                new = (old + 1 + int(self.random.integers(count - 1))) % count
                return trace.with_decision(step, new, True)
        return None

    def clone(self) -> Any:
        return _OtherOption(self.seed)


@derived_object
class _SharedModel(meta_schedule.cost_model.PyCostModel):
    """The cost model as MetaSchedule asks for it: scores, of which the larger are better."""

    def __init__(self, search: EvolutionarySearch) -> None:
        super().__init__()
        self.search = search

    def load(self, path: str) -> None:
        """Models live as long as their run."""

    def save(self, path: str) -> None:
        """See `load`."""

    def update(self, context: Any, candidates: Any, results: Any) -> None:
        """The search teaches the model itself."""

    def predict(self, context: Any, candidates: Any) -> Any:
        """Of the fastest candidate 1, less of those that take longer."""
        points = [point_of(candidate.sch) for candidate in candidates]
        predicted = np.array(self.search.predicted(points))
        return np.exp(predicted.min(initial=np.inf) - predicted)


def _context(task: Task, version: Version, seed: int) -> Any:
    # the context imports CUDA's and ROCm's intrinsics, whose scripts take half a minute to parse
    sys.modules.setdefault(_TENSOR_INTRINSICS, types.ModuleType(_TENSOR_INTRINSICS))
    space = meta_schedule.space_generator.ScheduleFn(
        _space_of(task), sch_rules=[], postprocs=[], mutator_probs={_OtherOption(seed): 1.0}
    )
    strategy = meta_schedule.search_strategy.EvolutionarySearch(
        population_size=min(16, 2 * len(task.points)),
        init_min_unmeasured=1,
        max_fail_count=2,
        genetic_num_iters=2,
        eps_greedy=0.1,
    )
    return meta_schedule.TuneContext(
        mod=workload_of(task.key, version, task.title),
        target=tvm.target.Target({"kind": "c"}),
        space_generator=space,
        search_strategy=strategy,
        task_name=task.key,
        rand_state=seed + 1,
        num_threads=1,
    )
