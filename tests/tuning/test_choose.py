from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import tvm_tiny
from tests.support.calls import side_by_side
from tests.support.layers import Layer
from tests.tuning.records import Rows, failed
from tvm_tiny.errors import ArtefactError, StaleRecordsWarning
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import Call, call_of
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.board import cores
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.choose import MeasuredKernels, StoredRecords, kernels_of
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.tasks import key_of, point_name, title_of
from tvm_tiny.tuning.trial import Measurement

M4, M0 = cores()["cortex-m4"], cores()["cortex-m0"]
TARGET = resolve("cortex-m4")
NAME = "conv3x3 12x12x8->16"


@pytest.fixture(scope="module")
def call() -> Call:
    return call_of(Layer.parse(NAME).call())


def default(call: Call) -> Candidate:
    return next(c for c in candidates(call, M4.features) if c.kernel is not None)


def other(call: Call) -> Candidate:
    """Return the next best by prediction."""
    first = default(call)
    return next(c for c in candidates(call, M4.features) if c.kernel and c.variant != first.variant)


def chosen(call: Call, rows: Mapping[str, Measurement]) -> Candidate:
    found = MeasuredKernels(M4, Rows(rows)).candidates(call)
    return next(c for c in found if c.kernel is not None)


def test_without_records_prices_are_predicted_cycles(call: Call) -> None:
    found = MeasuredKernels(M4, Rows()).candidates(call)
    assert [c.cost for c in found] == sorted(c.cost for c in found)
    for candidate in found:
        assert candidate.price == candidate.cycles(M4.cycle_model)
        assert candidate.measured is None


def test_cores_without_a_model_count_instructions(call: Call) -> None:
    found = MeasuredKernels(M0, Rows({"portable": Measurement(900, None)})).candidates(call)
    assert [(c.variant, c.price) for c in found] == [("portable", 900)]
    unmeasured = MeasuredKernels(M0, Rows()).candidates(call)
    assert [c.price for c in unmeasured] == [c.instructions for c in unmeasured]


def test_the_fastest_record_is_taken(call: Call) -> None:
    first, second = default(call).variant, other(call).variant
    taken = chosen(call, {first: Measurement(1000, 2000), second: Measurement(1100, 1500)})
    assert (taken.variant, taken.instructions) == (second, 1100)
    assert taken.price == taken.cycles("cortex-m4") == 1500 and taken.is_measured


def test_cycles_of_a_board_come_before_estimates(call: Call) -> None:
    first, second = default(call).variant, other(call).variant
    rows = {
        first: Measurement(1000, 1000, hardware=3000),
        second: Measurement(1000, 2000, hardware=2500),
    }
    taken = chosen(call, rows)
    assert (taken.variant, taken.price) == (second, 2500)
    rows[second] = Measurement(1000, 2000)
    assert chosen(call, rows).price == 1000


def test_predictions_do_not_beat_measurements(call: Call) -> None:
    first = default(call).variant
    assert chosen(call, {first: Measurement(10**9, 10**9)}).variant == first


def test_records_without_the_default_compete_with_its_prediction(call: Call) -> None:
    first, second = default(call).variant, other(call).variant
    assert chosen(call, {second: Measurement(10**9, 10**9)}).variant == first
    assert chosen(call, {second: Measurement(10, 10)}).variant == second


def test_kernels_that_failed_are_not_taken(call: Call) -> None:
    first = default(call).variant
    assert chosen(call, {first: failed("wrong result at element 5")}).variant != first


def test_where_all_failed_one_is_left(call: Call) -> None:
    rows = {c.variant: failed("crash") for c in candidates(call, M4.features)}
    assert chosen(call, rows).kernel is not None


def test_options_join_where_they_are_measured(call: Call) -> None:
    first = default(call).variant
    point = next(c for c in points(call, M4.features) if c.options and c.kernel)
    rows = {first: Measurement(1000, 1000), point_name(point): Measurement(900, 900)}
    taken = chosen(call, rows)
    assert taken.options == point.options and taken.kernel is not None
    found = MeasuredKernels(M4, Rows({first: Measurement(1, 1)})).candidates(call)
    assert not any(c.options for c in found)


def test_the_table_alone() -> None:
    assert kernels_of(TARGET, "none") == M4.features


def test_a_database_without_records_of_the_core() -> None:
    assert kernels_of(TARGET, Rows()) == M4.features


def test_stale_records_are_told_once() -> None:
    with pytest.warns(StaleRecordsWarning, match="other kernels") as caught:
        assert kernels_of(TARGET, Rows(why_stale="records are of other kernels")) == M4.features
    assert len(caught) == 1


def test_a_missing_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no database of measured kernels"):
        kernels_of(TARGET, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def store(folder: Path, call: Call, version: Version, rows: Mapping[str, Measurement]) -> None:
    database, key = Database(folder), key_of(call)
    for point, measured in rows.items():
        database.add(key, version, title_of(call), point, measured)


def test_records_of_a_folder(tmp_path: Path, call: Call) -> None:
    first, second = default(call).variant, other(call).variant
    rows = {first: Measurement(1000, 2000), second: Measurement(1100, 1500)}
    store(tmp_path, call, Version.of(TARGET), rows)
    kernels = kernels_of(TARGET, tmp_path)
    assert isinstance(kernels, MeasuredKernels)
    assert kernels.candidates(call)[0].variant == second
    unknown = call_of(Layer.parse("conv3x3 13x12x8->16").call())
    assert not any(c.measured for c in kernels.candidates(unknown))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"compiler": "gcc 3.1"}, "with gcc 3.1"),
        ({"kernels": "0123"}, "of other versions of the kernels"),
    ],
)
def test_stale_records_of_a_folder(
    tmp_path: Path, call: Call, changed: dict[str, str], reason: str
) -> None:
    version = replace(Version.of(TARGET), **changed)
    store(tmp_path, call, version, {default(call).variant: Measurement(1, 1)})
    with pytest.warns(StaleRecordsWarning, match=reason):
        assert kernels_of(TARGET, tmp_path) == M4.features
    other_core = StoredRecords.open(tmp_path, resolve("cortex-m7"))
    assert (other_core.count(), other_core.stale()) == (0, "")


@pytest.mark.slow
def test_firmware_says_what_was_measured() -> None:
    module, _ = side_by_side([Layer.parse(NAME).call()])
    made = call_of(Layer.parse(NAME).call())
    first, second = default(made).variant, other(made).variant
    rows = Rows({first: Measurement(9000, 9000), second: Measurement(800, 700)})
    metadata = tvm_tiny.build(module, "cortex-m4", name="layer", database=rows).metadata
    layer = next(layer for layer in metadata.layers if layer.op == "qconv2d")
    assert layer.kernel == second and metadata.choice == "optimal"
    assert layer.cost is not None
    assert (layer.cost.instructions, layer.cost.cycles, layer.cost.measured) == (800, 700, True)
    plain = tvm_tiny.build(module, "cortex-m4", name="layer", database="none").metadata
    assert plain.choice == "" and plain.layers[0].kernel == first
