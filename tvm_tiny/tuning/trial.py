"""What is measured, a kernel for a call on a core, and what a measurement gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call

Metric = Literal["cycles", "instructions", "hardware"]


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate for a call, to be measured on a core; the call is as the model has it."""

    call: Call
    candidate: Candidate
    core: str


@dataclass(frozen=True)
class Measurement:
    """Exact instructions and estimated cycles of one run of a layer, or why there are none.

    `hardware` are cycles that a board's own counter gave; emulators have none.
    """

    instructions: int | None
    cycles: int | None
    error: str = ""
    hardware: int | None = None

    def value(self, metric: Metric) -> int | None:
        """The number that is made small; None where there is none."""
        if self.error:
            return None
        return {
            "cycles": self.cycles,
            "instructions": self.instructions,
            "hardware": self.hardware,
        }[metric]
