"""Measurements in one small file for a core: what the package ships, and how it is made.

MetaSchedule's database has a module for every layer, some 18 KB; here a layer is a line. The file
holds of each point its instructions and cycles, or null where it must not be taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from tvm_tiny.errors import ArtefactError
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call
from tvm_tiny.targets.target import Target
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.tasks import key_of, title_of
from tvm_tiny.tuning.trial import Measurement

FOLDER = Path(__file__).with_name("database")
FAILED = "it failed when the package was made"
# Cycles are estimates: a gain of less than this is no reason to take so many more instructions.
NEAR, MORE = 0.97, 1.1


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Points of a layer by their names: instructions and cycles."""

    title: str
    points: dict[str, tuple[int, int | None] | None]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of a file: what its measurements are true of, and layers by their keys."""

    core: str
    compiler: str
    kernels: str
    layers: dict[str, Layer]


@dataclass(frozen=True)
class ShippedRecords:
    """The file of a core, for a build by one version of compiler and kernels."""

    table: Table
    version: Version

    @staticmethod
    def of(target: Target, folder: Path = FOLDER) -> ShippedRecords | None:
        """The target's core's file, if there is one; raises ArtefactError where it is broken."""
        path = folder / f"{target.core.name}.json"
        if not path.is_file():
            return None
        try:
            table = msgspec.json.decode(path.read_bytes(), type=Table)
        except msgspec.DecodeError as error:
            raise ArtefactError(
                "broken measurements", where=str(path), hint=f"install the package again: {error}"
            ) from error
        return ShippedRecords(table, Version.of(target))

    def is_known(self, call: Call) -> bool:
        """Whether a layer of its shapes was measured."""
        return title_of(call) in self._titles

    def known(self, call: Call, space: Sequence[Candidate]) -> Mapping[str, Measurement]:
        """What was measured of a call's points."""
        layer = self.table.layers.get(key_of(call))
        points = layer.points if layer else {}
        return {
            name: Measurement(None, None, FAILED) if figures is None else Measurement(*figures)
            for name, figures in points.items()
        }

    def count(self) -> int:
        """Layers with measurements, none if these are of another version."""
        return 0 if self.stale() else len(self.table.layers)

    def stale(self) -> str:
        """Why it is not used, in a few words."""
        table, here = self.table, self.version
        if table.kernels != here.kernels:
            return "the package's measurements are of another version of the kernels"
        if table.compiler != here.compiler:
            return f"the package's measurements are with {table.compiler}, here is {here.compiler}"
        return ""

    @cached_property
    def _titles(self) -> frozenset[str]:
        return frozenset(layer.title for layer in self.table.layers.values())


def ship(database: Database, target: Target, folder: Path = FOLDER) -> Path:
    """Write a core's file from what a database has of this version; the same bytes every time.

    Of what is no default, only what is worth having.
    """
    version = Version.of(target)
    layers = {
        key: Layer(title, dict(sorted(_points(database.known(key, version)))))
        for key, title in sorted(database.titles(version).items())
    }
    table = Table(version.core, version.compiler, version.kernels, layers)
    path = folder / f"{target.core.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
    return path


def _points(known: Mapping[str, Measurement]) -> list[tuple[str, tuple[int, int | None] | None]]:
    """All defaults, and of other forms those that are right and worth their instructions."""
    right = {name: each for name, each in known.items() if each.instructions and not each.error}
    return [
        (name, (right[name].instructions or 0, right[name].cycles) if name in right else None)
        for name in known
        if "=" not in name or (name in right and _is_worth_it(right[name], right.values()))
    ]


def _is_worth_it(point: Measurement, others: Iterable[Measurement]) -> bool:
    """Whether no other takes clearly fewer instructions, which are exact, for as many cycles."""
    return not any(
        (other.instructions or 0) * MORE < (point.instructions or 0)
        and (other.cycles or 0) * NEAR <= (point.cycles or 0)
        for other in others
    )
