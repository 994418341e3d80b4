from __future__ import annotations

from pathlib import Path

import pytest

import tvm_tiny
from tests.support.calls import side_by_side
from tests.support.layers import Layer
from tests.tuning.records import Row, Rows
from tvm_tiny.errors import ArtefactError, StaleRecordsWarning
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import Call, call_of
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.board import cores
from tvm_tiny.tuning import choose
from tvm_tiny.tuning.choose import MeasuredKernels, kernels_of

M4, M0 = cores()["cortex-m4"], cores()["cortex-m0"]
NAME = "conv3x3 12x12x8->16"


@pytest.fixture(scope="module")
def call() -> Call:
    return call_of(Layer.parse(NAME).call())


def default(call: Call) -> Candidate:
    return next(c for c in candidates(call, M4.features) if c.kernel is not None)


def chosen(call: Call, *rows: Row) -> Candidate:
    found = MeasuredKernels(M4, Rows(rows)).candidates(call)
    return next(c for c in found if c.kernel is not None)


def test_without_records_prices_are_predicted_cycles(call: Call) -> None:
    found = MeasuredKernels(M4, Rows(())).candidates(call)
    assert [c.cost for c in found] == sorted(c.cost for c in found)
    for candidate in found:
        assert candidate.price == candidate.cycles(M4.cycle_model)
        assert candidate.measured is None


def test_cores_without_a_model_count_instructions(call: Call) -> None:
    found = MeasuredKernels(M0, Rows([Row("portable", 900, None, core=M0.name)])).candidates(call)
    assert [(c.variant, c.price) for c in found] == [("portable", 900)]
    unmeasured = MeasuredKernels(M0, Rows(())).candidates(call)
    assert [c.price for c in unmeasured] == [c.instructions for c in unmeasured]


def test_the_fastest_record_is_taken(call: Call) -> None:
    first = default(call)
    other = next(c for c in candidates(call, M4.features)[1:] if c.kernel and c is not first)
    taken = chosen(call, Row(first.variant, 1000, 2000), Row(other.variant, 1100, 1500))
    assert (taken.variant, taken.instructions, taken.cycles("cortex-m4")) == (
        other.variant,
        1100,
        1500,
    )
    assert taken.price == 1500 and taken.is_measured


def test_predictions_do_not_beat_measurements(call: Call) -> None:
    first = default(call)
    taken = chosen(call, Row(first.variant, 10**9, 10**9))
    assert taken.variant == first.variant


def test_records_without_the_default_compete_with_its_prediction(call: Call) -> None:
    first = default(call)
    other = next(c for c in candidates(call, M4.features)[1:] if c.kernel and c is not first)
    assert chosen(call, Row(other.variant, 10**9, 10**9)).variant == first.variant
    assert chosen(call, Row(other.variant, 10, 10)).variant == other.variant


def test_kernels_that_failed_are_not_taken(call: Call) -> None:
    first = default(call)
    taken = chosen(call, Row(first.variant, error="wrong result at element 5"))
    assert taken.variant != first.variant


def test_where_all_failed_one_is_left(call: Call) -> None:
    rows = [Row(c.variant, error="crash") for c in candidates(call, M4.features)]
    assert chosen(call, *rows).kernel is not None


def test_options_join_where_they_are_measured(call: Call) -> None:
    with_options = [c for c in points(call, M4.features) if c.options and c.kernel]
    if not with_options:
        pytest.skip("no variant of this layer has options")
    point = with_options[0]
    taken = chosen(
        call,
        Row(default(call).variant, 1000, 1000),
        Row(point.variant, 900, 900, dict(point.options)),
    )
    assert taken.options == point.options and taken.kernel is not None
    found = MeasuredKernels(M4, Rows([Row(default(call).variant, 1, 1)])).candidates(call)
    assert not any(c.options for c in found)


def test_the_table_alone() -> None:
    assert kernels_of(M4, "none") == M4.features


def test_a_database_without_records_of_the_core() -> None:
    rows = Rows([Row("portable", 1, 1, core="cortex-m7")])
    assert kernels_of(M4, rows) == M4.features


def test_stale_records_are_told_once() -> None:
    with pytest.warns(StaleRecordsWarning, match="other kernels") as caught:
        assert kernels_of(M4, Rows((), "12 records are of other kernels")) == M4.features
    assert len(caught) == 1


def test_a_missing_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no database of measured kernels"):
        kernels_of(M4, tmp_path / "none")


def test_without_a_shipped_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choose, "SHIPPED", tmp_path / "none")
    assert kernels_of(M4, None) == M4.features


def test_firmware_says_what_was_measured() -> None:
    call = Layer.parse(NAME).call()
    module, _ = side_by_side([call])
    first = default(call_of(call))
    other = next(c for c in candidates(call, M4.features)[1:] if c.kernel and c is not first)
    rows = Rows([Row(first.variant, 9000, 9000), Row(other.variant, 800, 700)])
    metadata = tvm_tiny.build(module, "cortex-m4", name="layer", database=rows).metadata
    layer = next(layer for layer in metadata.layers if layer.op == "qconv2d")
    assert layer.kernel == other.variant and metadata.choice == "optimal"
    assert layer.cost is not None
    assert (layer.cost.instructions, layer.cost.cycles, layer.cost.measured) == (800, 700, True)
    plain = tvm_tiny.build(module, "cortex-m4", name="layer", database="none").metadata
    assert plain.choice == "" and plain.layers[0].kernel == first.variant
