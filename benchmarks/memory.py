"""Build models for little memory, run them, and compare with what whole tensors give.

    python benchmarks/memory.py [--cases vww01-rows,...] [--json FILE]

Bytes are those of the built firmware, instructions exact counts of one inference on the emulator.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks import common  # noqa: E402
from benchmarks.table import number, table  # noqa: E402
from tests.support.shared import shared_folder  # noqa: E402
from tvm_tiny import zoo  # noqa: E402

TIMEOUT_S = 1200.0
PLENTY = 4 << 20  # bytes of SRAM in which everything is whole


@dataclass(frozen=True)
class Case:
    """A model, how it is built, and the limit that it has to keep.

    `counted` says what the limit is for: "sram" all of it, "arena", or "beside" the input image.
    """

    name: str
    model: str  # a file of the shared models, or a name of the zoo
    target: str
    sram: int
    limit: int
    counted: str
    patch: str = "auto"
    input_rows: bool = False
    integer_io: bool = True

    def load(self) -> Any:
        """Return what `build` takes."""
        if self.model == "mobilenet_v2":
            return zoo.int8_module(zoo.mobilenet_v2(), 0)
        return tvm_tiny.load(shared_folder() / "models" / self.model)


VWW, MCUNET = "mlperf_tiny/vww01_mbv1_int8.tflite", "mcunet/mcunet-vww1.tflite"
LARGE, NET_320 = "mcunet/mcunetv2_large.tflite", "mcunet/mcunet-320kb-1mb_imagenet.tflite"
KB = 1024
_CASES = (
    Case("vww01", VWW, "cortex-m4", 64 * KB, 48_000, "arena"),
    Case("vww01-rows", VWW, "cortex-m4", 32_000, 32_000, "sram", input_rows=True),
    Case("vww01-rows-20k", VWW, "cortex-m4", 25_000, 32_000, "sram", input_rows=True),
    Case("mcunet-vww1-2x2", MCUNET, "cortex-m7", 64 * KB, 59_568, "beside", "2x2@6"),
    Case("mcunet-vww1", MCUNET, "cortex-m7", 64 * KB, 64 * KB, "sram"),
    Case("mcunet-vww1-rows", MCUNET, "cortex-m7", 40 * KB, 40 * KB, "sram", input_rows=True),
    Case("mcunet-320kb-m4", NET_320, "cortex-m4", 200_000, 200_000, "arena"),
    Case("mcunet-320kb-m7", NET_320, "cortex-m7", 200_000, 200_000, "arena"),
    Case("mcunetv2-4x4", LARGE, "cortex-m7", PLENTY, 441_000, "beside", "4x4@8"),
    Case("mcunetv2", LARGE, "cortex-m7", 300_000, 300_000, "sram"),
    Case("mobilenet_v2-224", "mobilenet_v2", "cortex-m7", 512 * KB, 512 * KB, "sram"),
)
CASES = {case.name: case for case in _CASES}


def measure(case: Case) -> dict[str, Any]:
    """Build, run, and compare with the same model whose tensors are whole."""
    model, io = case.load(), case.integer_io
    small = tvm_tiny.build(
        model,
        case.target,
        name="small",
        sram=case.sram,
        patch=case.patch,
        input_rows=case.input_rows,
        integer_io=io,
    )
    result = small.run(timeout_s=TIMEOUT_S)
    whole = tvm_tiny.build(model, case.target, name="whole", sram=PLENTY, integer_io=io)
    expected = whole.run(timeout_s=TIMEOUT_S)
    port = small.metadata.inputs[0]
    image = 0 if case.input_rows else int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize
    counted = {
        "sram": result.arena_bytes + (result.stack_bytes or 0),
        "arena": result.arena_bytes,
        "beside": result.arena_bytes - image,
    }[case.counted]
    return {
        "case": case.name,
        "target": case.target,
        "limit": case.limit,
        "counted": case.counted,
        "bytes": counted,
        "arena_bytes": result.arena_bytes,
        "stack_bytes": result.stack_bytes,
        "whole_arena_bytes": expected.arena_bytes,
        "memory_steps": result.memory_steps,
        "instructions": result.instructions,
        "whole_instructions": expected.instructions,
        "exact": all(map(np.array_equal, result.outputs, expected.outputs)),
    }


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    rows = [
        [
            row["case"],
            row["target"],
            f"{number(row['bytes'])} ({row['counted']})",
            number(row["limit"]),
            number(row["whole_arena_bytes"]),
            number(row["instructions"]),
            f"{100 * (row['instructions'] / row['whole_instructions'] - 1):+.1f} %",
            "yes" if row["exact"] else "NO",
        ]
        for row in report["rows"]
    ]
    titles = ["case", "core", "bytes", "bar", "whole tensors", "instructions", "more", "exact"]
    tools = ", ".join(report["versions"].values())
    notes = (
        "Bytes of arena and stack (sram), of the arena, or of the arena without the input image "
        "(beside). Whole tensors: the arena with all of them, in place. Instructions are exact "
        f"counts of one inference on the emulator. {tools}."
    )
    return "\n".join(["# Memory", "", *table(titles, rows), "", notes, ""])


@click.command()
@common.name_option("--cases")
@common.json_option("memory")
def main(cases: str, path: Path) -> None:
    """Measure cases and write the table."""
    rows = []
    for name in common.chosen(cases, CASES):
        rows.append(measure(CASES[name]))
        row = rows[-1]
        click.echo(f"{name}: {row['bytes']:,} of {row['limit']:,} bytes, exact {row['exact']}")
    common.write(path, rows, render)


if __name__ == "__main__":
    main()
