"""Records survive, those of other versions are not found, and broken lines end nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.layers import Layer
from tvm_tiny.errors import ArtefactError
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.targets.board import cores
from tvm_tiny.tuning.database import RECORDS, Database, Version, kernel_library, kernel_library_hash
from tvm_tiny.tuning.trial import Measurement

VERSION = Version("core", "compiler 12", "0123")
GOOD, BAD = Measurement(100, 150), Measurement(None, None, "crash: bus fault")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path)
    made.add("one", VERSION, "a layer", "pairs", GOOD)
    made.add("one", VERSION, "a layer", "pairs order=grouped", BAD)
    made.add("two", VERSION, "another", "pairs", replace(GOOD, hardware=170))
    return made


def test_records_are_read_again(database: Database) -> None:
    again = Database(database.folder)
    assert len(again) == len(database) == 3
    assert again.known("one", VERSION) == {"pairs": GOOD, "pairs order=grouped": BAD}
    assert again.known("two", VERSION)["pairs"].hardware == 170
    assert again.known("three", VERSION) == {}


@pytest.mark.parametrize("part", ["core", "compiler", "kernels"])
def test_other_versions_are_not_found(database: Database, part: str) -> None:
    other = replace(VERSION, **{part: "other"})
    assert database.known("one", other) == {}
    assert database.has_stale("one", other) == (part != "core")
    assert not database.has_stale("one", VERSION)
    assert not database.has_stale("three", other)


def test_an_unfinished_line_is_dropped(database: Database) -> None:
    records = database.folder / RECORDS
    whole = records.read_text()
    for cut in (1, 20, len(whole.splitlines()[-1])):
        records.write_text(whole[:-cut])
        again = Database(database.folder)
        assert len(again) == 2
        again.add("two", VERSION, "another", "pairs", GOOD)
        assert len(Database(database.folder)) == 3


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECORDS).write_text("shopping list\n")
    with pytest.raises(ArtefactError, match="not a database of measurements"):
        Database(tmp_path)


def test_the_hash_is_of_all_that_inference_runs() -> None:
    assert len(kernel_library_hash()) == 16
    names = set(kernel_library())
    assert {"qconv2d.py", "requantization.py", "tvm_tiny.h", "tvm_tiny_helium.c"} <= names
    features = {f for core in cores().values() for f in core.features}
    for name in ("conv3x3 6x6x8->8", "dw3x3 6x6x8", "fc 16->8", "add 4x4x8"):
        for candidate in candidates(Layer.parse(name).call(), features):
            assert candidate.kernel is None or set(candidate.kernel.sources) <= names


def test_the_hash_is_not_of_training() -> None:
    training = {"adam.py", "gradients.py", "tvm_tiny_gradient.c", "tvm_tiny_wide.h"}
    assert not training & set(kernel_library())
