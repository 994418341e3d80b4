"""`tune`: measure kernels for a model's layers and write down what they take.

Every layer's default is measured first, so that what is chosen is never slower. Then all layers
take turns, a few trials at a time; results that the database has are taken from there, so that a
run that was killed comes to the same end without measuring anything twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tvm_tiny import _register, importers
from tvm_tiny.errors import TargetError
from tvm_tiny.pipeline import rewrite
from tvm_tiny.quick_script import quick_script
from tvm_tiny.relay_passes.program import program_of
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning.cost_model import CostModel, rank_correlation
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.search import EvolutionarySearch, RandomSearch, Search
from tvm_tiny.tuning.tasks import Task, point_name, refusal, tasks_of
from tvm_tiny.tuning.trial import Measurement, Metric, Trial

TRIALS = 12  # of a layer
TRIALS_OF_TURN = 2
TRIALS_AT_ONCE = 16  # that are lost if the process is killed
SEARCHES = ("evolutionary", "random")


class Measures(Protocol):
    """A bench: what measures trials, in order."""

    def measure(self, trials: Sequence[Trial]) -> list[Measurement]:
        """What each gives."""


@dataclass(frozen=True)
class TaskResult:
    """A layer: what its default takes and the best point; all costs in the order of measuring.

    Costs are None where a point gave none; `errors` say why, by the point's name.
    """

    title: str
    key: str
    layers: tuple[str, ...]
    space: int
    default: int | None
    best: int | None
    point: str
    default_point: str
    costs: tuple[int | None, ...]
    errors: Mapping[str, str]
    rank_correlation: float | None

    @property
    def ratio(self) -> float:
        """The best for the default, 1 where nothing was gained."""
        return self.best / self.default if self.best and self.default else 1.0

    @property
    def spread(self) -> float:
        """The slowest point for the best."""
        found = [cost for cost in self.costs if cost is not None]
        return max(found) / min(found) if found else 1.0


@dataclass(frozen=True)
class TuningResult:
    """What a run found; `measured` counts measurements, `reused` those that the database had."""

    target: str
    metric: Metric
    tasks: tuple[TaskResult, ...]
    measured: int
    reused: int
    seconds: float
    notices: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """All layers with their best for all with their defaults."""
        default = sum((task.default or 0) * len(task.layers) for task in self.tasks)
        best = sum((task.best or 0) * len(task.layers) for task in self.tasks)
        return best / default if default else 1.0

    @property
    def rank_correlation(self) -> float | None:
        """The mean of the layers' that have one."""
        found = [t.rank_correlation for t in self.tasks if t.rank_correlation is not None]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True)
class Progress:
    """How far a run is: one layer's state, and that of all."""

    title: str
    trials: int
    of: int
    best: int | None
    default: int | None
    spread: float
    done: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None


@quick_script()
def tune(
    mod: Any,
    target: str | Target,
    *,
    trials: int = TRIALS,
    database: Path | str,
    metric: Metric = "cycles",
    seed: int = 0,
    search: str = "evolutionary",
    tracker: str | None = None,
    key: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    bench: Measures | None = None,
    tasks: Sequence[Task] | None = None,
) -> TuningResult:
    """Measure up to `trials` kernels of each layer of a model, and keep what they take.

    `mod` is anything `load` takes; `database` a folder, which `build(..., database=)` reads.
    `metric` is what is made small: estimated "cycles", exact "instructions", or a board's own
    "hardware" cycles. Equal seeds give equal results. `bench` measures instead of the emulator, or
    all servers of a `key` at TVM's RPC `tracker`, HOST:PORT. `tasks` are those of the model where
    they are known (see `model_tasks`): kernels of one core are those of others of its features.

    Raises ModelError, UnsupportedError, TargetError, MissingToolError, MissingExtraError.
    """
    _register.register()
    if search not in SEARCHES:
        raise TargetError(f"unknown search {search!r}; known are {', '.join(SEARCHES)}")
    if (tracker is None) != (key is None):
        raise TargetError("a tracker needs a key, and a key a tracker", where="tracker")
    chosen = target if isinstance(target, Target) else resolve(target)
    tasks = model_tasks(mod, chosen) if tasks is None else tasks
    with ExitStack() as stack:
        bench = bench or _bench(chosen, stack, tracker, key)
        run = _Run(chosen, Database(database), bench, metric, seed)
        return run.tune(tasks, trials, search, on_progress)


@quick_script()
def model_tasks(mod: Any, target: Target) -> list[Task]:
    """The distinct layers of a model, as a target's core may compute them."""
    _register.register()
    features = target.core.features
    return tasks_of(program_of(rewrite(importers.load(mod)), features), features)


def _bench(target: Target, stack: ExitStack, tracker: str | None, key: str | None) -> Measures:
    from tvm_tiny.tuning.fleet import RemoteBench
    from tvm_tiny.tuning.measure import Bench

    if tracker is not None and key is not None:
        return stack.enter_context(RemoteBench(target, tracker, key))
    return stack.enter_context(Bench(target))


@dataclass
class _State:
    """A layer and what is known of it: costs by the numbers of its points, in order."""

    task: Task
    search: Search
    allowed: int
    costs: dict[int, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    predicted: dict[int, float] = field(default_factory=dict)
    is_done: bool = False

    @property
    def best(self) -> int | None:
        """The number of the point that costs the least."""
        found = [number for number, cost in self.costs.items() if np.isfinite(cost)]
        return min(found, key=lambda number: (self.costs[number], number), default=None)

    def cost(self, number: int | None) -> int | None:
        """A point's, if it has one."""
        cost = self.costs.get(number, np.inf) if number is not None else np.inf
        return int(cost) if np.isfinite(cost) else None

    def result(self) -> TaskResult:
        """All of it."""
        task, best = self.task, self.best
        both = [number for number in self.predicted if np.isfinite(self.costs[number])]
        return TaskResult(
            task.title,
            task.key,
            tuple(task.layers),
            len(task.points),
            self.cost(0),
            self.cost(best),
            point_name(task.points[best or 0]),
            point_name(task.default),
            tuple(self.cost(number) for number in self.costs),
            dict(self.errors),
            rank_correlation(
                [self.predicted[number] for number in both], [self.costs[number] for number in both]
            ),
        )


class _Run:
    def __init__(
        self, target: Target, database: Database, bench: Measures, metric: Metric, seed: int
    ) -> None:
        self.target, self.database, self.bench = target, database, bench
        self.metric, self.seed = metric, seed
        self.version = Version.of(target)
        self.model = CostModel(seed)
        self.measured = self.reused = 0
        self.started = time.perf_counter()

    def tune(
        self,
        tasks: Sequence[Task],
        trials: int,
        search: str,
        on_progress: Callable[[Progress], None] | None,
    ) -> TuningResult:
        stale = [t.title for t in tasks if self.database.has_stale(t.key, self.version)]
        states = [
            _State(task, self._search(task, search, number), min(trials, len(task.points)))
            for number, task in enumerate(tasks)
        ]
        for turn in self._turns(states):
            self._measure(turn)
            if on_progress is not None:
                for state, _ in turn:
                    on_progress(self._progress(state, states))
        return TuningResult(
            self.target.name,
            self.metric,
            tuple(state.result() for state in states),
            self.measured,
            self.reused,
            time.perf_counter() - self.started,
            tuple(f"{title}: measurements of another version are not used" for title in stale),
        )

    def _search(self, task: Task, kind: str, number: int) -> Search:
        seed = 1000 * self.seed + number
        if kind == "random":
            return RandomSearch(task, seed)
        core = self.target.core.cycle_model or self.target.core.name
        return EvolutionarySearch(task, self.version, self.model, seed, core)

    def _turns(self, states: Sequence[_State]) -> Iterator[list[tuple[_State, list[int]]]]:
        """What is measured together: all defaults, then a few points of each layer, and again."""
        yield [(state, [0]) for state in states]
        while active := [state for state in states if not state.is_done]:
            turn = []
            for state in active:
                left = min(TRIALS_OF_TURN, state.allowed - len(state.costs))
                points = state.search.propose(left) if left > 0 else []
                state.is_done = not points
                turn += [(state, points)] if points else []
            if turn:
                yield turn

    def _measure(self, turn: Sequence[tuple[_State, list[int]]]) -> None:
        jobs = [(state, number) for state, numbers in turn for number in numbers]
        for state, numbers in turn:
            self._predict(state, numbers)
        # layers of one key, of which not all variants can do each, share their measurements
        fit = [(s, n) for s, n in jobs if not refusal(s.task.points[n], self.target)]
        names = {(s.task.key, point_name(s.task.points[n])): (s, n) for s, n in reversed(fit)}
        unknown = [job for job in reversed(names.values()) if self._find(*job) is None]
        self.reused += len(fit) - len(unknown)
        for first in range(0, len(unknown), TRIALS_AT_ONCE):
            self._measure_now(unknown[first : first + TRIALS_AT_ONCE])
        for state, numbers in turn:
            found = {number: self._take(state, number) for number in numbers}
            state.costs |= found
            state.search.tell(found)

    def _predict(self, state: _State, numbers: Sequence[int]) -> None:
        if isinstance(state.search, EvolutionarySearch):
            state.predicted |= dict(zip(numbers, state.search.predicted(numbers), strict=True))

    def _find(self, state: _State, number: int) -> Measurement | None:
        known = self.database.known(state.task.key, self.version)
        return known.get(point_name(state.task.points[number]))

    def _measure_now(self, jobs: Sequence[tuple[_State, int]]) -> None:
        core = self.target.core.name
        trials = [Trial(state.task.call, state.task.points[n], core) for state, n in jobs]
        for (state, number), result in zip(jobs, self.bench.measure(trials), strict=True):
            task = state.task
            point = point_name(task.points[number])
            self.database.add(task.key, self.version, task.title, point, result)
            self.measured += 1

    def _take(self, state: _State, number: int) -> float:
        point = state.task.points[number]
        refused = refusal(point, self.target)
        measured = Measurement(None, None, refused) if refused else self._find(state, number)
        assert measured is not None
        if measured.error:
            state.errors[point_name(point)] = measured.error
        value = measured.value(self.metric)
        return float("inf") if value is None else float(value)

    def _progress(self, state: _State, states: Sequence[_State]) -> Progress:
        return Progress(
            state.task.title,
            len(state.costs),
            state.allowed,
            state.cost(state.best),
            state.cost(0),
            state.result().spread,
            sum(len(each.costs) for each in states),
            sum(each.allowed for each in states),
            time.perf_counter() - self.started,
        )


def best_points(
    task: Task, database: Database, version: Version, metric: Metric = "cycles"
) -> list[tuple[int, Candidate]]:
    """The measured points of a layer with their costs, the best first; none of other versions."""
    known = database.known(task.key, version)
    found = []
    for point in task.points:
        measured = known.get(point_name(point))
        value = measured.value(metric) if measured else None
        if value is not None:
            found.append((value, point))
    return sorted(found, key=lambda pair: pair[0])
