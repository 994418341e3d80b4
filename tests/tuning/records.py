"""A database in memory, as far as a build needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call
from tvm_tiny.tuning.trial import Measurement


@dataclass(frozen=True)
class Rows:
    """The same measurements for all calls of an operator, by the names of points."""

    rows: Mapping[str, Measurement] = field(default_factory=dict)
    operator: str = "tiny.qconv2d"
    why_stale: str = ""

    def is_known(self, call: Call) -> bool:
        return call.operator.name == self.operator

    def known(self, call: Call, space: Sequence[Candidate]) -> Mapping[str, Measurement]:
        return self.rows

    def count(self) -> int:
        return len(self.rows)

    def stale(self) -> str:
        return self.why_stale


def failed(reason: str) -> Measurement:
    """Return what a kernel gives that went wrong."""
    return Measurement(None, None, reason)


# of no operator that there is: all candidates have predicted cycles
EMPTY = Rows({"none": Measurement(1, 1)}, "tiny.none")
