"""The bench as MetaSchedule's builder and runner.

MetaSchedule hands modules to the builder, paths to the runner, and takes seconds: here a path
stands for a job of the bench, and a cycle, or an instruction, takes a microsecond.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerInput, RunnerResult

from tvm_tiny.tuning.job import Job
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Measurement, Metric, Trial

UNIT_S = 1e-6  # of the metric, as MetaSchedule's seconds


class Jobs:
    """Jobs on their way from a builder to a runner, by the paths that stand for them.

    MetaSchedule deletes the folder of a path when it is done with it, so each has its own.
    """

    def __init__(self) -> None:
        """None yet."""
        self._folder = tempfile.TemporaryDirectory(prefix="tvm_tiny-")
        self._jobs: dict[str, Job] = {}
        self._made = 0

    def put(self, job: Job) -> str:
        """The path that stands for a job from now on."""
        self._made += 1
        folder = Path(self._folder.name) / str(self._made)
        folder.mkdir()
        path = str(folder / "job")
        self._jobs[path] = job
        return path

    def take(self, path: str) -> Job:
        """The job of a path, once."""
        return self._jobs.pop(path)


@derived_object
class CandidateBuilder(PyBuilder):
    """Makes and compiles what `trial_of` finds in a module; the reason of a failure is its own."""

    def __init__(self, bench: Bench, trial_of: Callable[[tvm.IRModule], Trial], jobs: Jobs) -> None:
        """`jobs` is shared with the runner."""
        super().__init__()
        self.bench, self.trial_of, self.jobs = bench, trial_of, jobs

    def build(self, build_inputs: list[BuilderInput]) -> list[BuilderResult]:
        """Compile all."""
        made = [self._make(item.mod) for item in build_inputs]
        jobs = [job for job in made if isinstance(job, Job)]
        errors = dict(zip(map(id, jobs), self.bench.prepare(jobs), strict=True))
        return [self._result(job, errors) for job in made]

    def _make(self, module: tvm.IRModule) -> Job | Measurement:
        try:
            trial = self.trial_of(module)
        except Exception as error:  # TVM would end the whole search
            return Measurement(None, None, f"no candidate: {error}")
        return self.bench.maker.make(trial)

    def _result(self, job: Job | Measurement, errors: dict[int, str]) -> BuilderResult:
        error = job.error if isinstance(job, Measurement) else errors[id(job)]
        if error or isinstance(job, Measurement):
            return BuilderResult(None, error)
        return BuilderResult(self.jobs.put(job), None)


@derived_object
class _Done(PyRunnerFuture):
    """A result that is there already."""

    def __init__(self, outcome: RunnerResult) -> None:
        super().__init__()
        self.outcome = outcome

    def done(self) -> bool:
        return True

    def result(self) -> RunnerResult:
        return self.outcome


@derived_object
class CandidateRunner(PyRunner):
    """Runs what the builder compiled."""

    def __init__(self, bench: Bench, jobs: Jobs, metric: Metric = "cycles") -> None:
        """`metric` is what MetaSchedule makes small."""
        super().__init__()
        self.bench, self.jobs, self.metric = bench, jobs, metric

    def run(self, runner_inputs: list[RunnerInput]) -> list[Any]:
        """Measure all."""
        jobs = [self.jobs.take(str(item.artifact_path)) for item in runner_inputs]
        return [_Done(self._outcome(found)) for found in self.bench.run(jobs)]

    def _outcome(self, found: Measurement) -> RunnerResult:
        value = found.value(self.metric)
        if value is None:
            return RunnerResult(None, found.error or f"no {self.metric} on this board")
        return RunnerResult([value * UNIT_S], None)


def builder_and_runner(
    bench: Bench, trial_of: Callable[[tvm.IRModule], Trial], metric: Metric = "cycles"
) -> tuple[Any, Any]:
    """Both, for one search."""
    jobs = Jobs()
    return CandidateBuilder(bench, trial_of, jobs), CandidateRunner(bench, jobs, metric)
