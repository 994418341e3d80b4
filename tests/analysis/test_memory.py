"""The report: what it holds, as JSON, and as text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import tvm_tiny
from tests.analysis.graphs import image
from tests.support.shared import REPOSITORY
from tvm_tiny import zoo
from tvm_tiny.analysis import MemoryReport, Patch, memory
from tvm_tiny.analysis.graph import GraphBuilder
from tvm_tiny.cli import main

NET = zoo.mobilenet_v2(0.35, 48)
DIGITS = REPOSITORY / "examples" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def report() -> MemoryReport:
    return memory(NET, patch=Patch(2, 2, NET.convolutions(2)))


def test_it_is_public() -> None:
    assert tvm_tiny.memory is memory
    assert tvm_tiny.MemoryReport is MemoryReport


def test_totals_are_sums(report: MemoryReport) -> None:
    assert report.macs == sum(layer.macs for layer in report.layers)
    assert report.parameters == sum(layer.parameters for layer in report.layers)
    assert report.peak_bytes == max(layer.live_bytes for layer in report.layers)
    known = [layer.in_place_bytes for layer in report.layers if layer.in_place_bytes is not None]
    assert report.peak_in_place_bytes == max(known)
    (at,) = [layer for layer in report.layers if layer.name == report.peak_in_place_layer]
    assert at.in_place_bytes == report.peak_in_place_bytes


def test_patches_only_when_asked_for(report: MemoryReport) -> None:
    assert memory(NET).patched is None
    assert report.patched == memory(NET, patch=(2, 2, NET.convolutions(2))).patched


def test_reports_are_frozen(report: MemoryReport) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.macs = 0  # type: ignore[misc]


def test_elements_of_other_sizes() -> None:
    eight, thirty_two = memory(NET), memory(NET, element_bytes=4)
    assert thirty_two.peak_bytes == 4 * eight.peak_bytes
    assert thirty_two.peak_in_place_bytes == 4 * eight.peak_in_place_bytes
    assert memory(NET, element_bytes=None) == thirty_two


def test_json(report: MemoryReport) -> None:
    facts = json.loads(json.dumps(report.as_json()))
    assert list(facts) == [field.name for field in dataclasses.fields(MemoryReport)]
    assert facts["layers"][0]["name"] == "stem"
    assert facts["patched"]["patch"] == "2x2@6"
    assert facts["patched"]["peak_bytes"] == report.patched.peak_bytes  # type: ignore[union-attr]
    assert memory(NET).as_json()["patched"] is None


def test_a_model_without_layers() -> None:
    builder = GraphBuilder()
    start = image(builder)
    assert memory(builder.build([start])).peak_bytes == 256


def test_text(report: MemoryReport) -> None:
    text = str(report)
    assert f"{report.macs:,}" in text
    assert f"peak, in place  {report.peak_in_place_bytes:,} bytes" in text
    assert "2x2 up to block1_project" in text
    assert "above" in text  # an addition
    assert len(text.splitlines()) > len(report.layers)
    assert max(map(len, text.splitlines())) <= 110
    assert "patches" not in str(memory(NET))


def test_text_numbers_convolutions(report: MemoryReport) -> None:
    """The column that a patch's split is read from."""
    rows = [line.split() for line in str(report).splitlines()]
    (last,) = [row for row in rows if "block1_project" in row and row[0].isdigit()]
    assert last[1] == str(NET.convolutions(2))


# --- the command --------------------------------------------------------------------------------


def command(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["memory", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_command(tmp_path: Path) -> None:
    text = command(DIGITS, "--patch", "2x2@2", "--json", tmp_path / "memory.json")
    assert "peak, in place" in text and "2x2 up to" in text
    facts = json.loads((tmp_path / "memory.json").read_text())
    assert facts["macs"] == memory(str(DIGITS)).macs
    assert facts["patched"]["patch"] == "2x2@2"


def test_command_reads_architectures(tmp_path: Path) -> None:
    config = tmp_path / "net.json"
    config.write_text(json.dumps(SMALL))
    facts = json.loads(command(config, "--json", "-"))
    assert facts["macs"] == memory(zoo.from_config(SMALL)).macs


SMALL = {
    "name": "small",
    "resolution": 32,
    "first_conv": {"kernel_size": 3, "stride": 2, "in_channels": 3, "out_channels": 8},
    "blocks": [],
    "classifier": {"out_features": 10},
}


@pytest.mark.parametrize(
    ("patch", "message"),
    [("4by4", "is not a patch"), ("2x2@99", "a stage must have some of the model's convolutions")],
)
def test_command_refuses(patch: str, message: str) -> None:
    result = CliRunner().invoke(main, ["memory", str(DIGITS), "--patch", patch])
    assert result.exit_code == 1
    assert message in result.output
