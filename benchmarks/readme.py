"""Fill the README's marked places with figures: a run of the demo, and benchmarks/results.

    python benchmarks/readme.py

A place is what stands between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks.table import PEERS, PeerTable, number, read_peers, table  # noqa: E402

README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "models.json"
DIGITS = ROOT / "examples" / "digits"
TARGET = "mps2-an386"  # the demo's
COMPARED = ("cortex-m4", "cortex-m7", "cortex-m55")
# column of peers.toml -> title
INSTRUCTIONS = {
    "tflm_cmsis_nn": "TFLM, CMSIS-NN",
    "tflm_portable": "TFLM, portable",
    "tinyengine_integer": "TinyEngine, exact",
    "tinyengine_float": "TinyEngine, default (not exact)",
}


def demo_report() -> str:
    """Return what the demo prints: the report, and how many test digits are read rightly."""
    test = np.load(DIGITS / "digits_test.npz")
    firmware = tvm_tiny.build(DIGITS / "digits.onnx", TARGET)
    result = firmware.run(test["images"])
    right = int((result.output.argmax(axis=1) == test["labels"]).sum())
    lines = [line.rstrip() for line in firmware.report(result).splitlines()]
    accuracy = f"accuracy: {right} of {len(test['labels'])} digits right"
    return "\n".join(["```", *lines, accuracy, "```"])


def comparison(report: dict[str, Any], peers: PeerTable) -> str:
    """Return tables of the measured rows that other runtimes have figures for, and what made them.

    Speed first, then memory; a row of the memory table is a model, as cores hardly differ.
    """
    rows = [row for row in report["rows"] if "error" not in row and row["target"] in COMPARED]
    tool = "with " + ", ".join(report["versions"][role] for role in ("compiler", "emulator"))
    return "\n".join(
        [
            *table(
                ["model", "core", "tvm_tiny", *INSTRUCTIONS.values()],
                list(_instructions(rows, peers)),
                left=2,
            ),
            "",
            f"Instructions of one inference, exact counts on the emulator; {tool}.",
            "",
            *table(
                ["model", "arena", "lower bound", "others' arena", "code", "others' code"],
                list(_memory(rows, peers)),
            ),
            "",
            "Bytes on the Cortex-M4 (MCUNet: M7). Others: TFLM with CMSIS-NN, its arena and all",
            "its code; for MCUNet TinyEngine, its peak SRAM.",
        ]
    )


def _instructions(rows: list[dict[str, Any]], peers: PeerTable) -> Iterator[list[str]]:
    for row in rows:
        other = peers.get(row["model"], {}).get(row["target"])
        if other:
            figures = [number(other.get(column)) for column in INSTRUCTIONS]
            yield [row["model"], row["target"], number(row["instructions"]), *figures]


def _memory(rows: list[dict[str, Any]], peers: PeerTable) -> Iterator[list[str]]:
    for row in rows:
        other = peers.get(row["model"], {}).get(row["target"], {})
        core = "cortex-m7" if row["model"].startswith("mcunet") else "cortex-m4"
        if other and row["target"] == core:
            arena = other.get("tflm_cmsis_nn_arena", other.get("tinyengine_sram"))
            yield [
                row["model"],
                number(row["arena_bytes"]),
                number(row["arena_lower_bound_bytes"]),
                number(arena),
                number(row["flash_code_bytes"]),
                number(other.get("tflm_cmsis_nn_code")),
            ]


def fill(text: str, name: str, content: str) -> str:
    """Return the text with the content of a marked place replaced."""
    place = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not place.search(text):
        raise SystemExit(f"README.md has no place <!-- {name} --> ... <!-- /{name} -->")
    return place.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main() -> None:
    """Fill both places."""
    text = fill(README.read_text(), "report", demo_report())
    if RESULTS.exists():
        report = json.loads(RESULTS.read_text())
        text = fill(text, "comparison", comparison(report, read_peers(PEERS)))
    README.write_text(text)


if __name__ == "__main__":
    main()
