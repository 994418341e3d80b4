"""The bench: kernels of trials are made, compiled in batches, run and checked.

Nothing that a candidate does ends the bench. What is wrong with it stands in its measurement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from tvm_tiny.errors import TargetError
from tvm_tiny.quick_script import quick_script
from tvm_tiny.targets.measurement.emulator import (
    DEFAULT_TIMEOUT_S,
    INSTRUCTION_LIMIT,
    EmulatedServer,
    MeasurementServer,
)
from tvm_tiny.targets.measurement.layout import server_layout
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning.job import Job
from tvm_tiny.tuning.reference import References
from tvm_tiny.tuning.stand import Stand
from tvm_tiny.tuning.subject import seen, subject_of
from tvm_tiny.tuning.trial import Measurement, Trial
from tvm_tiny.tuning.verdict import problem_of_error

LEAST_BATCH, BATCH = 4, 16  # trials that are compiled together


@dataclass(frozen=True)
class Spent:
    """Seconds by what they were spent on, and the trials measured; sums of all workers."""

    trials: int
    making: float
    compiler: float
    linker: float
    emulator: float


class Maker:
    """Makes jobs of trials for a target; only the thread that owns TVM's objects may use it."""

    def __init__(self, target: Target, seed: int = 0) -> None:
        """`seed` is that of the random inputs."""
        self.target, self.seconds = target, 0.0
        self._references = References(seed)
        self._layout = server_layout(target)

    def make(self, trial: Trial) -> Job | Measurement:
        """The trial's job, or why there is none."""
        started = time.perf_counter()
        try:
            self._check(trial)
            with quick_script():
                subject = subject_of(trial)
            self._layout.end_of_data(subject.arena_bytes)
            samples = self._references.samples(trial.call)
            return Job(subject, samples, seen(trial.call).output.dtype)
        except Exception as error:  # whatever a kernel's maker raises is that candidate's fault
            return Measurement(None, None, problem_of_error(error, "no kernel"))
        finally:
            self.seconds += time.perf_counter() - started

    def _check(self, trial: Trial) -> None:
        if trial.core != self.target.core.name:
            raise TargetError(
                "a trial for another core", limit=self.target.core.name, found=trial.core
            )


class AnyStand(Protocol):
    """What measures jobs: the stand of this machine, or others."""

    def prepare(self, jobs: Sequence[Job]) -> list[str]:
        """Compile jobs; for each why it was refused, or nothing."""

    def measure(self, jobs: Sequence[Job]) -> list[Measurement]:
        """What jobs give, in order."""

    def seconds(self) -> dict[str, float]:
        """Where time went so far."""

    def close(self) -> None:
        """Give back what it holds."""


class Bench:
    """Measures trials on an emulated core, or a board; a context manager.

    Kernels are made in the calling thread, as TVM wants it, and compiled and run by `workers`.
    """

    def __init__(
        self,
        target: Target | str,
        *,
        workers: int = 2,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        instruction_limit: int = INSTRUCTION_LIMIT,
        seed: int = 0,
        server: MeasurementServer | None = None,
        stand: AnyStand | None = None,
    ) -> None:
        """`instruction_limit` ends kernels that loop for ever; `timeout_s` is for all else.

        `server` is another one than the emulator, such as a board at a serial port, and `stand` is
        for other machines' servers; the bench owns them from now on.
        """
        self.target = resolve(target) if isinstance(target, str) else target
        self.maker = Maker(self.target, seed)
        if stand is None:
            server = server or EmulatedServer(
                self.target, instruction_limit=instruction_limit, timeout_s=timeout_s
            )
            stand = Stand(self.target, server)
        self.stand = stand
        self.workers = workers
        self._workers = ThreadPoolExecutor(workers)
        self._trials = 0

    def __enter__(self) -> Bench:
        """Ready at once; the emulator starts with the first trial."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End workers and emulator."""
        self.close()

    def close(self) -> None:
        """End workers and emulator."""
        self._workers.shutdown(cancel_futures=True)
        self.stand.close()

    @property
    def spent(self) -> Spent:
        """Where time went since the bench exists."""
        seconds = {"compiler": 0.0, "linker": 0.0} | self.stand.seconds()
        parts = (seconds["compiler"], seconds["linker"], seconds["emulator"])
        return Spent(self._trials, self.maker.seconds, *parts)

    def measure(self, trials: Sequence[Trial]) -> list[Measurement]:
        """What each trial gives, in order; a bad one gives its reason."""
        results: dict[int, Measurement] = {}
        batches: list[tuple[list[int], Future[list[Measurement]]]] = []
        size = self._batch(len(trials))
        for start in range(0, len(trials), size):
            chunk = enumerate(trials[start : start + size], start)
            made = [(number, self.maker.make(trial)) for number, trial in chunk]
            results |= {number: what for number, what in made if isinstance(what, Measurement)}
            jobs = {number: what for number, what in made if isinstance(what, Job)}
            if jobs:
                batch = self._workers.submit(self.stand.measure, list(jobs.values()))
                batches.append((list(jobs), batch))
        for numbers, batch in batches:
            results |= zip(numbers, batch.result(), strict=True)
        self._trials += len(trials)
        return [results[number] for number in range(len(trials))]

    def prepare(self, jobs: Sequence[Job]) -> list[str]:
        """Compile jobs; for each why it was refused, or nothing."""
        parts = self._parts(jobs)
        return [error for part in self._workers.map(self.stand.prepare, parts) for error in part]

    def run(self, jobs: Sequence[Job]) -> list[Measurement]:
        """Measure jobs, whose code is there if they were prepared."""
        parts = self._parts(jobs)
        self._trials += len(jobs)
        return [found for part in self._workers.map(self.stand.measure, parts) for found in part]

    def _parts(self, jobs: Sequence[Job]) -> list[list[Job]]:
        size = self._batch(len(jobs))
        return [list(jobs[start : start + size]) for start in range(0, len(jobs), size)]

    def _batch(self, count: int) -> int:
        """How many go together, so that every worker has some."""
        return max(LEAST_BATCH, min(BATCH, -(-count // self.workers)))
