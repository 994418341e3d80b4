"""The stand: compiles subjects in batches, runs them on the measurement server, checks them.

It takes plain data and knows nothing of kernels or TVM, so that it can serve other machines too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from tvm_tiny.errors import MissingToolError, TinyError
from tvm_tiny.targets.cycles import MODELS, BlockTimes
from tvm_tiny.targets.measurement.emulator import MeasurementServer
from tvm_tiny.targets.measurement.protocol import Answer, Counts, Request
from tvm_tiny.targets.mpu import Region
from tvm_tiny.targets.target import Target
from tvm_tiny.tuning.compile import CodeImage, Compiler
from tvm_tiny.tuning.job import Job, Subject
from tvm_tiny.tuning.trial import Measurement
from tvm_tiny.tuning.verdict import problem_of_error, problem_of_fault, problem_of_memory

KEPT_SUBJECTS = 4096  # whose code need not be compiled again

_Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a subject's code is: its number in an image."""

    image: CodeImage
    number: int


class Stand:
    """Measures jobs on one core; several threads may use it at once."""

    def __init__(self, target: Target, server: MeasurementServer) -> None:
        """The stand owns the server from now on."""
        self.target, self.server = target, server
        self.layout = self.server.server.layout
        self.compiler = Compiler(target, self.layout.code)
        model = target.core.cycle_model
        self._times = BlockTimes(model) if model in MODELS else None
        self._line = Lock()
        self._loaded: CodeImage | None = None
        self._known: dict[_Key, _Place | Measurement] = {}
        self._allowed: dict[int, Sequence[Region]] = {}

    def close(self) -> None:
        """Close the server."""
        self.server.close()

    def seconds(self) -> dict[str, float]:
        """Where time went so far: compiler, linker, emulator."""
        return {**self.compiler.seconds, "emulator": self.server.busy_s}

    def measure(self, jobs: Sequence[Job]) -> list[Measurement]:
        """Compile jobs together and run each; a bad one gives its reason."""
        places = self._places([job.subject for job in jobs])
        with self._line:
            return [
                self._run(place, job) if isinstance(place, _Place) else place
                for place, job in zip(places, jobs, strict=True)
            ]

    def prepare(self, jobs: Sequence[Job]) -> list[str]:
        """Compile jobs together, and keep their code; for each why it was refused, or nothing."""
        places = self._places([job.subject for job in jobs])
        return [place.error if isinstance(place, Measurement) else "" for place in places]

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
        except MissingToolError:
            raise
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
                arena = job.subject.arena(sample.inputs)
                answer = self._ask(place, job.subject, arena)
                if answer.fault:
                    reason = problem_of_fault(answer.fault, job.subject, place.image, self.layout)
                    return Measurement(None, None, reason)
                problem = problem_of_memory(
                    job.subject, arena, answer.data, sample.output, job.dtype
                )
                if problem:
                    return Measurement(None, None, problem)
                first = first or answer
        except MissingToolError:
            raise
        except TinyError as error:
            return Measurement(None, None, problem_of_error(error))
        if first is None:
            return Measurement(None, None, "nothing to compare it with")
        if first.counts is None:
            return Measurement(None, None, hardware=first.hardware_cycles)
        return Measurement(
            first.counts.instructions,
            self._cycles(place.image, first.counts),
            hardware=first.hardware_cycles,
        )

    def _ask(self, place: _Place, subject: Subject, arena: bytes) -> Answer:
        image, layout = place.image, self.layout
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
            self._regions(len(arena)),
        )
        answer = self.server.ask(request)
        self._loaded = image
        return answer

    def _regions(self, arena_bytes: int) -> Sequence[Region]:
        """What a subject may touch."""
        if arena_bytes not in self._allowed:
            layout = self.layout
            self._allowed[arena_bytes] = layout.regions(layout.end_of_data(arena_bytes))
        return self._allowed[arena_bytes]

    def _cycles(self, image: CodeImage, counts: Counts) -> int | None:
        if self._times is None:
            return None
        fields = ("address", "size", "count", "fall_through")
        blocks = zip(*(counts.records[field].tolist() for field in fields), strict=True)
        return self._times.estimate(lambda: image.program, image.bytes_at, blocks)
