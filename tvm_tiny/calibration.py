"""How far estimated cycles are from those of boards.

Rows that were measured with firmware of this project tell the error of the cycle models. Published
cycles of other engines' code are put beside our estimates, but say nothing about an error.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import mean, pstdev

import msgspec

from tvm_tiny.build_firmware import build, default_name
from tvm_tiny.errors import InputError, TargetError
from tvm_tiny.result import RunResult
from tvm_tiny.targets.board import cores
from tvm_tiny.targets.cycles import MODELS
from tvm_tiny.targets.target import resolve

OWN, PUBLISHED = "own", "published"
KINDS = (OWN, PUBLISHED)
COLUMNS = ("board", "model", "cycles")


@dataclass(frozen=True)
class Anchor:
    """Cycles of one inference on a board.

    `kind` is "own" for firmware that this project built, "published" for another engine, of whose
    code `instructions` are known here and there. `path` is the model's file, if there is one.
    """

    board: str
    core: str
    model: str
    cycles: int
    kind: str = OWN
    engine: str = ""
    instructions: int | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """An anchor and what our firmware of the same model takes; None where nothing was run."""

    anchor: Anchor
    cycles_estimated: int | None = None
    instructions: int | None = None

    @property
    def error(self) -> float | None:
        """Estimate against the anchor: 0.1 is ten percent too many."""
        estimate = self.cycles_estimated
        return None if estimate is None else estimate / self.anchor.cycles - 1


@dataclass(frozen=True)
class Summary:
    """Of all comparisons of a kind on a core: mean, standard deviation and worst error."""

    core: str
    kind: str
    count: int
    mean: float
    deviation: float
    worst: float


class _Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    engine: str
    board: str
    core: str
    cycles: dict[str, int]
    instructions: dict[str, int] = {}


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, str]
    published: list[_Published]


def published(models: Path | None) -> list[Anchor]:
    """The built-in table; files of its models are looked for below the folder `models`."""
    text = files("tvm_tiny").joinpath("anchors.toml").read_bytes()
    table = msgspec.toml.decode(text, type=_Table)
    paths = {name: _below(models, file) for name, file in table.models.items()}
    return [
        Anchor(
            *(row.board, row.core, name, cycles, PUBLISHED, row.engine),
            row.instructions.get(name),
            paths[name],
        )
        for row in table.published
        for name, cycles in row.cycles.items()
    ]


def read_anchors(path: Path) -> list[Anchor]:
    """The rows of a CSV file: board, model, cycles and, if there is one, kind.

    Boards are known boards or cores, models are files, from the CSV's folder on. Raises InputError.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    missing = [c for c in COLUMNS if not rows or c not in rows[0]]
    if missing:
        raise InputError(
            f"needs a first line with the columns {', '.join(COLUMNS)} and, if wanted, kind",
            where=str(path),
            found=f"no {', '.join(missing)}" if rows else "no rows",
        )
    return [_anchor(row, path, number) for number, row in enumerate(rows, 2)]


def compare(
    anchors: Sequence[Anchor], on_progress: Callable[[Anchor], None] = lambda anchor: None
) -> list[Comparison]:
    """Build and run each model on the emulator of each anchor's core."""
    runner = _Runner(on_progress)
    return [runner.comparison(anchor) for anchor in anchors]


def summaries(comparisons: Sequence[Comparison]) -> Iterator[Summary]:
    """For each core and kind that anything was run for."""
    pairs = dict.fromkeys((c.anchor.core, c.anchor.kind) for c in comparisons)
    for core, kind in pairs:
        errors = [
            c.error
            for c in comparisons
            if (c.anchor.core, c.anchor.kind) == (core, kind) and c.error is not None
        ]
        if errors:
            worst = max(errors, key=abs)
            yield Summary(core, kind, len(errors), mean(errors), pstdev(errors), worst)


class _Runner:
    """Runs each model once for each core."""

    def __init__(self, on_progress: Callable[[Anchor], None]) -> None:
        self.on_progress = on_progress
        self.results: dict[tuple[Path, str], RunResult] = {}

    def comparison(self, anchor: Anchor) -> Comparison:
        if anchor.path is None:
            return Comparison(anchor)
        key = (anchor.path, anchor.core)
        if key not in self.results:
            self.on_progress(anchor)
            firmware = build(anchor.path, anchor.core, name=default_name(anchor.path))
            self.results[key] = firmware.profile()
        result = self.results[key]
        return Comparison(anchor, result.cycles_estimated, result.instructions)


def _below(folder: Path | None, name: str) -> Path | None:
    found = sorted(folder.rglob(name)) if folder is not None else []
    return found[0] if found else None


def _anchor(row: dict[str, str | None], path: Path, line: int) -> Anchor:
    board, model, text = ((row[column] or "").strip() for column in COLUMNS)
    kind, where = (row.get("kind") or OWN).strip(), f"{path}, line {line}"
    if not text.isdigit() or int(text) == 0:
        raise InputError("cycles are a whole number", where=where, found=text or "nothing")
    if kind not in KINDS:
        raise InputError("unknown kind", where=where, limit=" or ".join(KINDS), found=kind)
    file = path.parent / model
    if not file.is_file():
        raise InputError("no such model", where=where, found=str(file))
    try:
        core = resolve(board).core
    except TargetError as error:
        raise InputError(error.what, where=where, hint=error.hint) from error
    if core.cycle_model not in MODELS:
        known = [name for name, each in cores().items() if each.cycle_model in MODELS]
        raise InputError(
            "there is no cycle model for this core",
            where=where,
            limit=", ".join(known),
            found=board,
        )
    return Anchor(board, core.name, model, int(text), kind, path=file)
