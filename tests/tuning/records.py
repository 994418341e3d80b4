"""A database in memory, as far as a build needs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm_tiny.schedules.dialect import Call, Options


@dataclass(frozen=True)
class Row:
    """A record: what it is of, and its figures."""

    variant: str
    instructions: int | None = None
    cycles: int | None = None
    options: Options = field(default_factory=dict)
    error: str = ""
    operator: str = "tiny.qconv2d"
    core: str = "cortex-m4"


@dataclass(frozen=True)
class Rows:
    """Records of all calls of an operator alike."""

    rows: Sequence[Row]
    why_stale: str = ""

    def records(self, call: Call, core: str) -> list[Row]:
        return [r for r in self.rows if (r.operator, r.core) == (call.operator.name, core)]

    def count(self, core: str) -> int:
        return sum(row.core == core for row in self.rows)

    def stale(self, core: str) -> str:
        return self.why_stale
