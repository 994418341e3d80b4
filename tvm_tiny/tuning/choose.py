"""Kernels with what was measured of them: the catalogue that a build with a database chooses from.

A record of the database replaces what the table of costs predicts, and brings variants with options
that a build without measurements does not look at. All candidates of a program get a price of one
kind: cycles where the core has a cycle model, instructions else.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Protocol

from tvm_tiny.errors import ArtefactError, StaleRecordsWarning
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Candidate, Catalogue, Features, Measured, candidates
from tvm_tiny.schedules.dialect import Call, Options
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.board import Core
from tvm_tiny.targets.cycles import MODELS

NO_DATABASE = "none"
SHIPPED = Path(__file__).with_name("database")


class Record(Protocol):
    """One measured kernel of a call; with an `error` it is one that must not be taken."""

    @property
    def variant(self) -> str:
        """Its variant."""

    @property
    def options(self) -> Options:
        """What it was made with."""

    @property
    def instructions(self) -> int | None:
        """Exact instructions."""

    @property
    def cycles(self) -> int | None:
        """Estimated cycles, or those of a board."""

    @property
    def error(self) -> str:
        """Why it gave no figures."""


class Records(Protocol):
    """A database, as far as a build needs it."""

    def records(self, call: Call, core: str) -> Sequence[Record]:
        """All that is known of a call on a core and is not stale."""

    def count(self, core: str) -> int:
        """How many records of a core there are that are not stale."""

    def stale(self, core: str) -> str:
        """Why other records of a core are not used; empty where there are none."""


@dataclass(frozen=True)
class MeasuredKernels(Catalogue):
    """The kernels of a core, with the figures of a database."""

    core: Core
    database: Records

    def candidates(self, call: Call) -> list[Candidate]:
        """Candidates with prices, the cheapest first.

        Predictions do not compete with measurements: where the default is measured, what is not
        costs more than the best that is, and serves only where that has no room.
        """
        known = {_key(r.variant, r.options): r for r in self.database.records(call, self.core.name)}
        if not known:
            return self._sorted(map(self._predicted, candidates(call, self.core.features)))
        every = points(call, self.core.features)
        found = [c for c in every if not c.options or _key_of(c) in known]
        found = [c for c in found if not (_key_of(c) in known and known[_key_of(c)].error)] or found
        priced = [self._with_figures(c, known.get(_key_of(c))) for c in found]
        floor = self._floor(priced, every)
        return self._sorted(
            c if c.measured else replace(c, price=max(c.cost, floor)) for c in priced
        )

    def _with_figures(self, candidate: Candidate, record: Record | None) -> Candidate:
        if record is None or record.instructions is None:
            return self._predicted(candidate)
        figures = Measured(record.instructions, record.cycles)
        price = figures.cycles if self._has_cycles else figures.instructions
        if price is None:
            return self._predicted(candidate)
        return replace(candidate, instructions=figures.instructions, measured=figures, price=price)

    def _predicted(self, candidate: Candidate) -> Candidate:
        if not self._has_cycles:
            return replace(candidate, price=candidate.instructions)
        cycles = candidate.cycles(self.core.cycle_model)
        price = round(candidate.instructions * self._usual) if cycles is None else cycles
        return replace(candidate, price=price)

    @staticmethod
    def _floor(priced: Sequence[Candidate], every: Sequence[Candidate]) -> int:
        """What candidates without a measurement cost at least."""
        measured = {_key_of(c): c.cost for c in priced if c.measured}
        default = next((c for c in every if not c.options and c.kernel is not None), None)
        if default is None or _key_of(default) not in measured:
            return 0
        return min(measured.values()) + 1

    @staticmethod
    def _sorted(found: Iterable[Candidate]) -> list[Candidate]:
        return sorted(found, key=lambda candidate: candidate.cost)

    @property
    def _has_cycles(self) -> bool:
        return self.core.cycle_model in MODELS

    @cached_property
    def _usual(self) -> float:
        """Cycles for an instruction, of kernels whose own ratio is not known."""
        rows = [row for rows in costs.table().variants.values() for row in rows.values()]
        model = self.core.cycle_model
        return median([row.cycles[model] for row in rows if model in row.cycles] or [1.0])


def _key(variant: str, options: Mapping[str, int | str]) -> Hashable:
    return variant, frozenset(options.items())


def _key_of(candidate: Candidate) -> Hashable:
    return _key(candidate.variant, candidate.options)


def kernels_of(core: Core, database: str | Path | Records | None) -> Features:
    """What a build for a core chooses from.

    None is the database that comes with this package, as far as it has records of the core that
    are not stale. "none" is no database: the table of costs alone. Stale records of a given
    database are not used, and a StaleRecordsWarning says why. Raises ArtefactError for a database
    that is not there.
    """
    if database == NO_DATABASE:
        return core.features
    if database is None:
        shipped = _opened(SHIPPED) if SHIPPED.is_dir() else None
        has_records = shipped is not None and shipped.count(core.name) > 0
        return MeasuredKernels(core, shipped) if shipped and has_records else core.features
    given = _opened(Path(database)) if isinstance(database, (str, Path)) else database
    why = given.stale(core.name)
    if why:
        warnings.warn(why, StaleRecordsWarning, stacklevel=3)
    return MeasuredKernels(core, given) if given.count(core.name) else core.features


def _opened(path: Path) -> Records:
    if not path.is_dir():
        raise ArtefactError(
            "no database of measured kernels",
            where=str(path),
            hint="`tvm-tiny tune` writes one; 'none' builds without",
        )
    from tvm_tiny.tuning.database import Database

    return Database.open(path)
