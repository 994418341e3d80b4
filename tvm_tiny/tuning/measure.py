"""The bench: trials are compiled in batches, run on the measurement server and checked.

Nothing that a candidate does ends the bench. What is wrong with it stands in its measurement.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

from tvm_tiny.errors import TargetError, TinyError
from tvm_tiny.targets.cycles import MODELS, BlockTimes
from tvm_tiny.targets.measurement.emulator import INSTRUCTION_LIMIT, EmulatedServer
from tvm_tiny.targets.measurement.firmware import Server
from tvm_tiny.targets.measurement.protocol import Answer, Counts, Request
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning.compile import CodeImage, Compiler
from tvm_tiny.tuning.reference import References, Sample
from tvm_tiny.tuning.subject import Subject, expected_arena, seen, subject_of
from tvm_tiny.tuning.trial import Measurement, Trial
from tvm_tiny.tuning.verdict import problem_of_error, problem_of_fault, problem_of_memory

BATCH = 16  # trials that are compiled together
KEPT_SUBJECTS = 4096  # whose code need not be compiled again
DEFAULT_TIMEOUT_S = 30.0


@dataclass(frozen=True, eq=False)
class Job:
    """A trial's code and what it must compute."""

    subject: Subject
    samples: Sequence[Sample]
    dtype: str


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a subject's code is: its number in an image."""

    image: CodeImage
    number: int


_Key = tuple[str, ...]


@dataclass(frozen=True)
class Spent:
    """Seconds by what they were spent on, and the trials measured; sums of all workers."""

    trials: int
    making: float
    compiler: float
    linker: float
    emulator: float


class Bench:
    """Measures trials on an emulated core; a context manager.

    Trials are made in the calling thread, as TVM wants it, and compiled and run by `workers`.
    """

    def __init__(
        self,
        target: Target | str,
        *,
        workers: int = 2,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        instruction_limit: int = INSTRUCTION_LIMIT,
        seed: int = 0,
    ) -> None:
        """`instruction_limit` ends kernels that loop for ever; `timeout_s` is for all else."""
        self.target = resolve(target) if isinstance(target, str) else target
        self.server = EmulatedServer(
            self.target, instruction_limit=instruction_limit, timeout_s=timeout_s
        )
        self.compiler = Compiler(self.target, self._firmware.layout.code)
        self.references = References(seed)
        model = self.target.core.cycle_model
        self._times = BlockTimes(model) if model in MODELS else None
        self._workers = ThreadPoolExecutor(workers)
        self._line = Lock()
        self._loaded: CodeImage | None = None
        self._known: dict[_Key, _Place | Measurement] = {}
        self._making_s, self._trials = 0.0, 0

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
        self.server.close()

    @property
    def spent(self) -> Spent:
        """Where time went since the bench exists."""
        seconds = self.compiler.seconds
        return Spent(
            self._trials,
            self._making_s,
            seconds["compiler"],
            seconds["linker"],
            self.server.busy_s,
        )

    def measure(self, trials: Sequence[Trial]) -> list[Measurement]:
        """What each trial gives, in order; a bad one gives its reason."""
        batches: list[Future[list[Measurement]]] = []
        results: dict[int, Measurement] = {}
        places: list[list[int]] = []
        for chunk in _chunks(range(len(trials)), BATCH):
            made = {number: self._make(trials[number]) for number in chunk}
            results |= {
                n: made_of for n, made_of in made.items() if isinstance(made_of, Measurement)
            }
            jobs = {n: job for n, job in made.items() if isinstance(job, Job)}
            places.append(list(jobs))
            batches.append(self._workers.submit(self._measure, list(jobs.values())))
        for numbers, batch in zip(places, batches, strict=True):
            results |= zip(numbers, batch.result(), strict=True)
        self._trials += len(trials)
        return [results[number] for number in range(len(trials))]

    @property
    def _firmware(self) -> Server:
        return self.server.server

    def _make(self, trial: Trial) -> Job | Measurement:
        started = time.perf_counter()
        try:
            self._check(trial)
            subject = subject_of(trial)
            self._firmware.layout.end_of_data(subject.arena_bytes)
            samples = self.references.samples(trial.call)
            return Job(subject, samples, seen(trial.call).output.dtype)
        except Exception as error:  # whatever a kernel's maker raises is that candidate's fault
            return Measurement(None, None, problem_of_error(error, "no kernel"))
        finally:
            self._making_s += time.perf_counter() - started

    def _check(self, trial: Trial) -> None:
        if trial.core != self.target.core.name:
            raise TargetError(
                "a trial for another core", limit=self.target.core.name, found=trial.core
            )

    def _measure(self, jobs: Sequence[Job]) -> list[Measurement]:
        """Compile and run a batch."""
        places = self._places([job.subject for job in jobs])
        with self._line:
            return [
                self._run(place, job) if isinstance(place, _Place) else place
                for place, job in zip(places, jobs, strict=True)
            ]

    def _places(self, subjects: Sequence[Subject]) -> list[_Place | Measurement]:
        """Where each subject's code is, new ones compiled together."""
        keys = [subject.key for subject in subjects]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {s.key: s for s in subjects if s.key not in found}
        found |= self._compile(new)
        with self._line:
            self._known |= {key: found[key] for key in new}
            for key in list(self._known)[: max(0, len(self._known) - KEPT_SUBJECTS)]:
                del self._known[key]
        return [found[key] for key in keys]

    def _compile(self, new: Mapping[_Key, Subject]) -> dict[_Key, _Place | Measurement]:
        """Compile subjects together; if they are refused, each half of them."""
        if not new:
            return {}
        try:
            image = self.compiler.compile(list(new.values()))
            return {key: _Place(image, number) for number, key in enumerate(new)}
        except TinyError as error:
            if len(new) > 1:
                listed, half = list(new.items()), len(new) // 2
                return self._compile(dict(listed[:half])) | self._compile(dict(listed[half:]))
            reason = problem_of_error(error, "does not compile")
            return dict.fromkeys(new, Measurement(None, None, reason))

    def _run(self, place: _Place, job: Job) -> Measurement:
        first: Answer | None = None
        try:
            for sample in job.samples:
                arena = bytes(expected_arena(job.subject, sample.inputs))
                answer = self._ask(place, job.subject, arena)
                if answer.fault:
                    reason = problem_of_fault(
                        answer.fault, job.subject, place.image, self._firmware.layout
                    )
                    return Measurement(None, None, reason)
                problem = problem_of_memory(
                    job.subject, arena, answer.data, sample.output, job.dtype
                )
                if problem:
                    return Measurement(None, None, problem)
                first = first or answer
        except TinyError as error:
            return Measurement(None, None, problem_of_error(error))
        assert first is not None and first.counts is not None
        return Measurement(first.counts.instructions, self._cycles(place.image, first.counts))

    def _ask(self, place: _Place, subject: Subject, arena: bytes) -> Answer:
        image, layout = place.image, self._firmware.layout
        end = layout.end_of_data(len(arena))
        writes = [(layout.data.origin, arena)]
        if subject.constant_bytes:
            writes.append((image.constants, subject.constant_bytes))
        if self._loaded is not image or not self.server.is_running:
            writes.append((image.origin, image.code))
        request = Request(
            writes,
            image.entry(place.number),
            layout.data.origin,
            layout.data.origin,
            len(arena),
            layout.regions(end),
        )
        answer = self.server.ask(request)
        self._loaded = image
        return answer

    def _cycles(self, image: CodeImage, counts: Counts) -> int | None:
        if self._times is None:
            return None
        fields = ("address", "size", "count", "fall_through")
        blocks = zip(*(counts.records[field].tolist() for field in fields), strict=True)
        return self._times.estimate(lambda: image.program, image.bytes_at, blocks)


def _chunks(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    listed = list(numbers)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
