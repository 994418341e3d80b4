"""Kernels with what was measured of them: the catalogue that a build with a database chooses from.

A record of the database replaces what the table of costs predicts, and brings variants with options
that a build without measurements does not look at. All candidates of a program get a price of one
kind: cycles where the core has a cycle model, instructions else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from tvm_tiny.errors import ArtefactError, StaleRecordsWarning
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Candidate, Catalogue, Features, Measured, candidates
from tvm_tiny.schedules.dialect import Call
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.board import Core
from tvm_tiny.targets.cycles import MODELS
from tvm_tiny.targets.target import Target
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.shipped import ShippedRecords
from tvm_tiny.tuning.tasks import key_of, point_name, title_of
from tvm_tiny.tuning.trial import Measurement, Metric

NO_DATABASE = "none"


class Records(Protocol):
    """A database, as far as a build for one core needs it."""

    def is_known(self, call: Call) -> bool:
        """Whether anything may have been measured of a call; asked before its points are made."""

    def known(self, call: Call, space: Sequence[Candidate]) -> Mapping[str, Measurement]:
        """What was measured of a call's points, its space, by names; nothing that is stale."""

    def count(self) -> int:
        """How many measurements there are that are not stale."""

    def stale(self) -> str:
        """Why others are not used; empty where there are none."""


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
        if not self.database.is_known(call):
            return _sorted(map(self._predicted, candidates(call, self.core.features)))
        every = points(call, self.core.features)
        known = self.database.known(call, every)
        if not known:
            return _sorted(self._predicted(c) for c in every if not c.options)
        failed = {name for name, measurement in known.items() if measurement.error}
        found = [c for c in every if not c.options or point_name(c) in known]
        found = [c for c in found if point_name(c) not in failed] or found
        metric = self._metric(known)
        priced = [self._with_figures(c, known.get(point_name(c)), metric) for c in found]
        floor = _floor(priced, every)
        return _sorted(c if c.measured else _with(c, price=max(c.cost, floor)) for c in priced)

    def _metric(self, known: Mapping[str, Measurement]) -> Metric:
        """Cycles of a board where all have them."""
        if not self._has_cycles:
            return "instructions"
        right = [each for each in known.values() if not each.error]
        has_board = bool(right) and all(each.hardware is not None for each in right)
        return "hardware" if has_board else "cycles"

    def _with_figures(
        self, candidate: Candidate, measurement: Measurement | None, metric: Metric
    ) -> Candidate:
        price = measurement.value(metric) if measurement is not None else None
        if measurement is None or price is None:
            return self._predicted(candidate)
        instructions = measurement.instructions or candidate.instructions
        figures = Measured(instructions, price if metric != "instructions" else None)
        return _with(candidate, instructions=instructions, measured=figures, price=price)

    def _predicted(self, candidate: Candidate) -> Candidate:
        if not self._has_cycles:
            return _with(candidate, price=candidate.instructions)
        cycles = candidate.cycles(self.core.cycle_model)
        price = round(candidate.instructions * self._usual) if cycles is None else cycles
        return _with(candidate, price=price)

    @property
    def _has_cycles(self) -> bool:
        return self.core.cycle_model in MODELS

    @cached_property
    def _usual(self) -> float:
        """Cycles for an instruction, of kernels whose own ratio is not known."""
        rows = [row for rows in costs.table().variants.values() for row in rows.values()]
        model = self.core.cycle_model
        return median([row.cycles[model] for row in rows if model in row.cycles] or [1.0])


def _floor(priced: Sequence[Candidate], every: Sequence[Candidate]) -> int:
    """What candidates without a measurement cost at least."""
    measured = {point_name(c): c.cost for c in priced if c.measured}
    default = next((c for c in every if not c.options and c.kernel is not None), None)
    if default is None or point_name(default) not in measured:
        return 0
    return min(measured.values()) + 1


def _with(candidate: Candidate, **figures: Any) -> Candidate:
    """The candidate with other figures; its kernel is made once for both."""
    return replace(candidate, make=lambda: candidate.kernel, **figures)


def _sorted(found: Iterable[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda candidate: candidate.cost)


@dataclass(frozen=True)
class StoredRecords:
    """Records of a database's folder, of one core, compiler and kernel library."""

    database: Database
    version: Version

    @staticmethod
    def open(folder: Path, target: Target) -> StoredRecords:
        """Those in a folder; raises ArtefactError where there is none."""
        if not folder.is_dir():
            raise ArtefactError(
                "no database of measured kernels",
                where=str(folder),
                hint="`tvm-tiny tune` writes one; 'none' builds without",
            )
        return StoredRecords(Database(folder), Version.of(target))

    def is_known(self, call: Call) -> bool:
        """Whether a layer of its shapes was measured."""
        return title_of(call) in self._titles

    def known(self, call: Call, space: Sequence[Candidate]) -> Mapping[str, Measurement]:
        """What was measured of a call's points."""
        return self.database.known(key_of(call), self.version)

    def count(self) -> int:
        """How many layers have measurements of this version."""
        return len(self._titles)

    def stale(self) -> str:
        """What is different of all others of this core."""
        others = [v for v in self.database.versions if v.core == self.version.core]
        others = [v for v in others if v != self.version]
        if not others:
            return ""
        here = self.version
        compilers = sorted({v.compiler for v in others} - {here.compiler})
        why = [f"with {', '.join(compilers)} (here it is {here.compiler})"] if compilers else []
        if any(v.kernels != here.kernels for v in others):
            why.append("of other versions of the kernels")
        return (
            f"{self.database.folder}: measurements for {here.core} are not used that were made "
            f"{' or '.join(why)}; tune again to replace them"
        )

    @cached_property
    def _titles(self) -> frozenset[str]:
        return frozenset(self.database.titles(self.version).values())


def kernels_of(target: Target, database: str | Path | Records | None) -> Features:
    """What a build for a target chooses from.

    None is the database that comes with this package, as far as it has records of the core that
    are not stale. "none" is no database: the table of costs alone. Stale records of a given
    database are not used, and a StaleRecordsWarning says why. Raises ArtefactError for a database
    that is not there.
    """
    core = target.core
    if database == NO_DATABASE:
        return core.features
    if database is None:
        shipped = ShippedRecords.of(target)
        return MeasuredKernels(core, shipped) if shipped and shipped.count() else core.features
    records = _records(database, target)
    if records.stale():
        warnings.warn(records.stale(), StaleRecordsWarning, stacklevel=3)
    return MeasuredKernels(core, records) if records.count() else core.features


def _records(database: str | Path | Records, target: Target) -> Records:
    if isinstance(database, (str, Path)):
        return StoredRecords.open(Path(database), target)
    return database
