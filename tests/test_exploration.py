from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.shared import REPOSITORY
from tvm_tiny import explore
from tvm_tiny.cli import main
from tvm_tiny.errors import MissingExtraError
from tvm_tiny.exploration import Point, plot

pytestmark = pytest.mark.slow

DIGITS = REPOSITORY / "examples" / "digits" / "digits.onnx"


def test_a_front_has_less_memory_for_more_instructions() -> None:
    points = explore(DIGITS, "cortex-m4")
    arenas = [point.arena_bytes for point in points]
    counts = [point.predicted for point in points]
    assert len(points) > 1
    assert arenas == sorted(set(arenas), reverse=True)
    assert counts == sorted(set(counts))
    assert points[-1].stages


@pytest.mark.qemu
def test_points_can_be_measured() -> None:
    predicted = explore(DIGITS, "cortex-m4")
    measured = explore(DIGITS, "cortex-m4", measure=True)
    assert len(measured) == len(predicted)
    for before, after in zip(predicted, measured, strict=True):
        assert after.arena_bytes <= before.arena_bytes
        assert after.instructions is not None
        assert abs(after.instructions / before.predicted - 1) < 0.3


def test_the_command_prints_the_front(tmp_path: Path) -> None:
    file = tmp_path / "front.json"
    arguments = ["explore", str(DIGITS), "--target", "cortex-m4", "--json", str(file)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    points = json.loads(file.read_text())
    assert [f"{point['arena_bytes']:,}" in result.output for point in points] == [True] * len(
        points
    )


def test_plots_are_pictures_or_name_the_extra(tmp_path: Path) -> None:
    points = [Point(4096, 100, ()), Point(2048, 120, ((0, 3),))]
    try:
        plot(points, tmp_path / "front.svg", "model")
    except MissingExtraError as error:
        assert "tvm_tiny[plot]" in error.hint
    else:
        assert "<svg" in (tmp_path / "front.svg").read_text()
