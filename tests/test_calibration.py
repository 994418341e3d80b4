from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.shared import REPOSITORY
from tvm_tiny.calibration import (
    OWN,
    PUBLISHED,
    Anchor,
    Comparison,
    published,
    read_anchors,
    summaries,
)
from tvm_tiny.cli import main
from tvm_tiny.errors import InputError
from tvm_tiny.targets.cycles import MODELS

DIGITS = next((REPOSITORY / "examples" / "digits").glob("*.onnx"))


def write(folder: Path, text: str) -> Path:
    path = folder / "anchors.csv"
    path.write_text(text)
    return path


def test_rows_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"")
    text = "board,model,cycles,kind\nnucleo-l4r5zi,m.tflite,1000,own\n"
    text += "cortex-m7, m.tflite,20,published\n"
    first, second = read_anchors(write(tmp_path, text))
    assert first == Anchor(
        "nucleo-l4r5zi", "cortex-m4", "m.tflite", 1000, OWN, path=tmp_path / "m.tflite"
    )
    assert (second.core, second.kind) == ("cortex-m7", PUBLISHED)
    (row,) = read_anchors(write(tmp_path, "model,board,cycles\nm.tflite,cortex-m4,7\n"))
    assert row.kind == OWN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("board,model\na,b\n", "no cycles"),
        ("board,model,cycles\ncortex-m4,m.tflite,many\n", "whole number"),
        ("board,model,cycles\ncortex-m4,m.tflite,0\n", "whole number"),
        ("board,model,cycles\ncortex-m4,other.tflite,7\n", "no such model"),
        ("board,model,cycles\nnone,m.tflite,7\n", "unknown target"),
        ("board,model,cycles\ncortex-m0,m.tflite,7\n", "no cycle model"),
        ("board,model,cycles,kind\ncortex-m4,m.tflite,7,guess\n", "unknown kind"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.tflite").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        read_anchors(write(tmp_path, text))


def test_errors_are_summed_up_by_core_and_kind() -> None:
    own, other = Anchor("b", "c", "m", 100), Anchor("b", "c", "m", 100, PUBLISHED)
    rows = [Comparison(own, 110), Comparison(own, 80), Comparison(own), Comparison(other, 300)]
    first, second = summaries(rows)
    assert (first.kind, first.count) == (OWN, 2)
    assert first.mean == pytest.approx(-0.05) and first.deviation == pytest.approx(0.15)
    assert first.worst == pytest.approx(-0.2)
    assert second.kind == PUBLISHED and second.mean == pytest.approx(2.0)
    assert rows[2].error is None


def test_the_built_in_table() -> None:
    anchors = published(None)
    assert len(anchors) >= 18
    assert all(a.kind == PUBLISHED and a.engine and a.core in MODELS for a in anchors)
    # nothing on a microcontroller takes less than a third of a cycle for an instruction
    assert all(a.cycles > a.instructions / 3 for a in anchors if a.instructions)
    assert all(a.path is None for a in anchors)


def test_the_built_in_table_without_models(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--calibrate"])
    assert result.exit_code == 0, result.output
    assert "no error of the cycle models" in result.output.replace("\n", " ")
    assert "--models names a folder" in result.output
    assert "46,750,000" in result.output


@pytest.mark.qemu
def test_a_file_is_compared_with_runs(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(DIGITS.read_bytes())
    path = write(tmp_path, "board,model,cycles\nnucleo-l4r5zi,m.onnx,100000\n")
    out = tmp_path / "out.json"
    result = CliRunner().invoke(main, ["doctor", "--calibrate", str(path), "--json", str(out)])
    assert result.exit_code == 0, result.output
    facts = json.loads(out.read_text())
    (row,), (summary,) = facts["rows"], facts["summaries"]
    assert row["error"] == pytest.approx(row["cycles_estimated"] / 100000 - 1)
    assert summary["mean"] == pytest.approx(row["error"]) and summary["count"] == 1
