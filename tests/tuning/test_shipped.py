from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.layers import Layer
from tvm_tiny.errors import ArtefactError
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call, call_of
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning import shipped
from tvm_tiny.tuning.choose import MeasuredKernels, kernels_of
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.shipped import FAILED, ShippedRecords, ship
from tvm_tiny.tuning.tasks import key_of, title_of
from tvm_tiny.tuning.trial import Measurement

TARGET = resolve("cortex-m4")
ROWS = {
    "pairs": Measurement(1000, 2000),
    "packed": Measurement(900, 1500),
    "portable": Measurement(None, None, "wrong result at element 5"),
}


@pytest.fixture(scope="module")
def call() -> Call:
    return call_of(Layer.parse("conv1x1 6x6x8->16").call())


@pytest.fixture(scope="module")
def space(call: Call) -> list[Candidate]:
    return points(call, TARGET.core.features)


@pytest.fixture
def folder(tmp_path: Path, call: Call, space: list[Candidate]) -> Path:
    database = Database(tmp_path / "database")
    add(database, call, space, Version.of(TARGET), ROWS)
    add(database, call, space, replace(Version.of(TARGET), kernels="0"), {"old": ROWS["pairs"]})
    ship(database, TARGET, tmp_path / "shipped")
    return tmp_path / "shipped"


def add(
    database: Database,
    call: Call,
    space: list[Candidate],
    version: Version,
    rows: Mapping[str, Measurement],
) -> None:
    for point, measured in rows.items():
        database.add(key_of(call), version, title_of(call), point, measured)


def test_what_was_written_is_read(folder: Path, call: Call, space: list[Candidate]) -> None:
    records = ShippedRecords.of(TARGET, folder)
    assert records is not None and records.count() == 1 and records.is_known(call)
    expected = ROWS | {"portable": Measurement(None, None, FAILED)}
    assert records.known(call, space) == expected
    other = call_of(Layer.parse("conv1x1 5x6x8->16").call())
    assert not records.is_known(other)


def test_the_file_is_small(folder: Path) -> None:
    assert (folder / "cortex-m4.json").stat().st_size < 600


def test_what_gains_little_for_many_instructions_is_left_out(
    tmp_path: Path, call: Call, space: list[Candidate]
) -> None:
    rows = {
        "pairs": Measurement(1000, 1000),
        "pairs order=grouped": Measurement(1200, 980),
        "pairs order=paired": Measurement(1200, 960),
        "pairs order=hoisted": Measurement(1050, 990),
        "pairs order=drawn": Measurement(None, None, "crash"),
    }
    add(Database(tmp_path / "database"), call, space, Version.of(TARGET), rows)
    ship(Database(tmp_path / "database"), TARGET, tmp_path)
    records = ShippedRecords.of(TARGET, tmp_path)
    assert records is not None
    assert set(records.known(call, space)) == set(rows) - {
        "pairs order=grouped",
        "pairs order=drawn",
    }


def test_other_cores_have_none(folder: Path) -> None:
    assert ShippedRecords.of(resolve("cortex-m7"), folder) is None


def test_builds_use_it_while_it_is_not_stale(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = ShippedRecords.of(TARGET, folder)
    assert records is not None
    monkeypatch.setattr(ShippedRecords, "of", lambda target: records)
    kernels = kernels_of(TARGET, None)
    assert isinstance(kernels, MeasuredKernels)
    assert kernels.candidates(call)[0].variant == "packed"
    assert kernels_of(TARGET, "none") == TARGET.core.features
    for changed in ({"kernels": "1"}, {"compiler": "gcc 3"}):
        stale = replace(records, version=replace(records.version, **changed))
        monkeypatch.setattr(ShippedRecords, "of", lambda target, stale=stale: stale)
        assert stale.stale() and kernels_of(TARGET, None) == TARGET.core.features


def test_a_broken_file_is_an_error(folder: Path) -> None:
    (folder / "cortex-m4.json").write_text("{}")
    with pytest.raises(ArtefactError, match="broken measurements"):
        ShippedRecords.of(TARGET, folder)


def test_files_of_the_package_can_be_read() -> None:
    for path in shipped.FOLDER.glob("*.json"):
        records = ShippedRecords.of(resolve(path.stem))
        assert records is not None and records.table.core == path.stem
        assert records.table.layers
