"""Records of measurements: MetaSchedule's JSON database, in a folder of two files.

A workload is a layer (tasks.py) on a core, with the compiler and the kernel library that it was
measured with: of another version nothing is found. A record is a point of the layer's space and its
measurement. Lines are appended as they come; one that a killed process left unfinished is dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir
from tvm.s_tir import meta_schedule
from tvm.script import tirx as T

from tvm_tiny.errors import ArtefactError
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import find_arm_compiler
from tvm_tiny.tuning.trial import Measurement

WORKLOADS, RECORDS = "workloads.json", "records.json"
BLOCK = "layer"
_POINT, _MEASUREMENT = "tiny.point", "tiny.measurement"
_SECONDS = 1e-9  # that MetaSchedule is told for a cycle
_LIBRARY = ("tvm_tiny.schedules", "tvm_tiny")  # packages with kernels, with the runtime
_RUNTIME_HEADER = "tvm_tiny.h"  # that all kernels include


@dataclass(frozen=True)
class Version:
    """What measurements are true of: a core, a compiler, and a hash of all kernels' sources."""

    core: str
    compiler: str
    kernels: str

    @staticmethod
    def of(target: Target) -> Version:
        """That of this project, with the compiler that there is."""
        return Version(target.core.name, _compiler_version(), kernel_library_hash())


@cache
def _compiler_version() -> str:
    program = find_arm_compiler()
    done = subprocess.run([program, "-dumpfullversion"], capture_output=True, text=True, check=True)
    return f"{Path(program).name} {done.stdout.strip()}"


@cache
def kernel_library_hash() -> str:
    """Of schedules/*.py and the files of the C runtime that these use; training has its own."""
    digest = hashlib.sha256()
    for name, content in kernel_library().items():
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def kernel_library() -> Mapping[str, bytes]:
    """All files that the code of an inference's kernels depends on, by name."""
    schedules, package = (files(name) for name in _LIBRARY)
    made = {entry.name: entry.read_bytes() for entry in _files(schedules, ".py")}
    runtime = {entry.name: entry.read_bytes() for entry in _files(package / "runtime", "")}
    used: set[str] = set()
    new = {_RUNTIME_HEADER}.union(*map(_named, made.values()))
    while new := (new & set(runtime)) - used:
        used |= new
        new = set().union(*(_named(runtime[name]) for name in new))
    return made | {name: runtime[name] for name in sorted(used)}


def _named(content: bytes) -> set[str]:
    """Files of the C runtime that a source includes, or brings into firmware."""
    return set(re.findall(r'"(tvm_tiny\w*\.[ch])"', content.decode()))


def _files(folder: Traversable, suffix: str) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_file() and entry.name.endswith(suffix):
            yield entry


def workload_of(key: str, version: Version, title: str) -> tvm.IRModule:
    """A layer as MetaSchedule sees it: a function of one block, whose attributes say all."""

    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((1,), "int8"), y: T.Buffer((1,), "int8")):
        for i in range(1):
            with T.sblock("layer"):
                v = T.axis.spatial(1, i)
                y[v] = x[v]

    function = main.with_attr("global_symbol", "main")
    for name, value in ({"layer": key, "title": title} | asdict(version)).items():
        function = function.with_attr(f"tiny.{name}", value)
    return tvm.IRModule({"main": function})


class Database:
    """The records in a folder, and new ones."""

    def __init__(self, folder: Path | str) -> None:
        """Makes the folder if need be; raises ArtefactError for what is not a database."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._workloads: dict[tuple[str, Version], Any] = {}
        paths = [self.folder / WORKLOADS, self.folder / RECORDS]
        for path in paths:
            _drop_unfinished_line(path)
        try:
            self._records = meta_schedule.database.JSONDatabase(*map(str, paths))
            records = self._records.get_all_tuning_records()
            self._known, self._titles = _known(records), _titles(records)
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            message = str(error).strip().splitlines()[-1:]
            raise ArtefactError(
                "not a database of measurements: " + "".join(message)[:200], where=str(folder)
            ) from error

    def known(self, key: str, version: Version) -> Mapping[str, Measurement]:
        """Measurements of a layer's points by their names, of this version alone."""
        return self._known.get((key, version), {})

    def has_stale(self, key: str, version: Version) -> bool:
        """Whether a layer has measurements on this core, but only of other versions."""
        if self.known(key, version):
            return False
        return any(k == key and other.core == version.core for k, other in self._known)

    @property
    def versions(self) -> frozenset[Version]:
        """All versions that there are measurements of."""
        return frozenset(self._titles)

    def titles(self, version: Version) -> Mapping[str, str]:
        """The layers that have measurements of a version: by key, what they are in a few words."""
        return self._titles.get(version, {})

    def add(
        self, key: str, version: Version, title: str, point: str, measured: Measurement
    ) -> None:
        """Write down what a point gave."""
        workload = self._workloads.get((key, version))
        if workload is None:
            workload = self._records.commit_workload(workload_of(key, version, title))
            self._workloads[key, version] = workload
        self._records.commit_tuning_record(_record(workload, point, measured))
        self._known.setdefault((key, version), {})[point] = measured
        self._titles.setdefault(version, {})[key] = title

    def __len__(self) -> int:
        """Measurements of all versions."""
        return sum(len(points) for points in self._known.values())


def _drop_unfinished_line(path: Path) -> None:
    if not path.exists():
        path.touch()
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _record(workload: Any, point: str, measured: Measurement) -> Any:
    """MetaSchedule's record: the trace says which point and what came of it."""
    schedule = s_tir.Schedule(workload.mod)
    block = schedule.get_sblock(BLOCK, func_name="main")
    schedule.annotate(block, _POINT, point)
    schedule.annotate(block, _MEASUREMENT, json.dumps(asdict(measured)))
    value = measured.hardware or measured.cycles or measured.instructions
    seconds = None if measured.error or value is None else [value * _SECONDS]
    arguments = meta_schedule.arg_info.ArgInfo.from_prim_func(workload.mod["main"])
    target = tvm.target.Target({"kind": "c"})
    return meta_schedule.database.TuningRecord(schedule.trace, workload, seconds, target, arguments)


def _known(records: Iterable[Any]) -> dict[tuple[str, Version], dict[str, Measurement]]:
    found: dict[tuple[str, Version], dict[str, Measurement]] = {}
    for record in records:
        attributes = record.workload.mod["main"].attrs
        version = _version_of(attributes)
        notes = {
            str(step.attrs[0]): str(step.inputs[1])
            for step in record.trace.insts
            if step.kind.name == "Annotate"
        }
        measured = Measurement(**json.loads(notes[_MEASUREMENT]))
        points = found.setdefault((str(attributes["tiny.layer"]), version), {})
        points[notes[_POINT]] = measured
    return found


def _titles(records: Iterable[Any]) -> dict[Version, dict[str, str]]:
    found: dict[Version, dict[str, str]] = {}
    for record in records:
        attributes = record.workload.mod["main"].attrs
        titles = found.setdefault(_version_of(attributes), {})
        titles[str(attributes["tiny.layer"])] = str(attributes["tiny.title"])
    return found


def _version_of(attributes: Any) -> Version:
    return Version(*(str(attributes[f"tiny.{name}"]) for name in asdict(_NONE)))


_NONE = Version("", "", "")
