"""A bench that measures nothing: predicted instructions, what an option is worth, some noise."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tvm_tiny.tuning.tasks import point_name
from tvm_tiny.tuning.trial import Measurement, Trial

WORTH = {"": 1.0, "grouped": 0.94, "paired": 1.06, "hoisted": 1.02, "drawn": 1.04}
BROKEN = "packed order=grouped"


class KilledError(Exception):
    """The process would be gone now."""


class FakeBench:
    """Counts what it was asked; ends everything after `lives` trials."""

    def __init__(self, lives: int | None = None) -> None:
        self.lives = lives
        self.asked: list[str] = []

    def measure(self, trials: Sequence[Trial]) -> list[Measurement]:
        """Return what each trial would give; BROKEN gives nothing."""
        if self.lives is not None and len(self.asked) + len(trials) > self.lives:
            raise KilledError
        self.asked += [f"{t.call.output.shape} {point_name(t.candidate)}" for t in trials]
        return [self._one(trial) for trial in trials]

    def _one(self, trial: Trial) -> Measurement:
        name, candidate = point_name(trial.candidate), trial.candidate
        if name == BROKEN:
            return Measurement(None, None, "wrong result at element 5: 1 instead of 2")
        noise = zlib.crc32(name.encode()) % 100 / 5000
        worth = WORTH[str(candidate.options.get("order", ""))]
        cycles = round(1.5 * candidate.instructions * worth * (1 + noise)) + 1
        return Measurement(candidate.instructions, cycles)
