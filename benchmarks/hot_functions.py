"""Where a model's instructions go: its hottest functions, and what their instructions are for.

    python benchmarks/hot_functions.py [--models kws01,ic01] [--targets cortex-m4] [--json FILE]

Counts are exact; the classes go by mnemonics.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks import common  # noqa: E402
from benchmarks.models import MODELS, inputs_of  # noqa: E402
from tvm_tiny.arrays import pack_inputs  # noqa: E402
from tvm_tiny.firmware import DEFAULT_TIMEOUT_S, Firmware  # noqa: E402
from tvm_tiny.targets import qemu  # noqa: E402
from tvm_tiny.targets.cycles.decode import block_instructions  # noqa: E402
from tvm_tiny.targets.cycles.instruction import Instruction  # noqa: E402
from tvm_tiny.targets.profile import HARNESS  # noqa: E402

HOTTEST = 10
# beginnings of mnemonics, the first that fits
CLASSES = {
    "multiply": ("smla", "smlal", "smuad", "mla", "mul", "vmla", "vmul", "vmull"),
    "scale": ("smml", "smmul", "ssat", "usat", "vqrdmul", "vrshl", "vqmov", "vmax", "vmin"),
    "expand": ("sxt", "uxt", "pkh", "ubfx", "sbfx", "bfi", "bfc", "vmov", "vdup"),
    "load": ("ldr", "ldm", "ldrd", "pop", "vld"),
    "store": ("str", "stm", "strd", "push", "vst"),
    "loop": ("b", "cb", "cmp", "subs", "le", "dls", "wls", "it", "tst", "vctp"),
}
OTHER = "other"
KINDS = (*CLASSES, OTHER)


def kind_of(instruction: Instruction) -> str:
    """Return what an instruction is for."""
    mnemonic = instruction.mnemonic
    for kind, beginnings in CLASSES.items():
        if kind == "loop":
            # every other mnemonic that begins so has been sorted out, or is bic
            if mnemonic.startswith(beginnings) and not mnemonic.startswith("bic"):
                return kind
        elif mnemonic.startswith(beginnings):
            return kind
    return OTHER


def counts_of(firmware: Firmware, packed: bytes) -> dict[str, Counter[str]]:
    """Return executed instructions by function and kind."""
    raw = qemu.run(
        firmware.image.elf, firmware.target, packed, firmware.image.profile, DEFAULT_TIMEOUT_S
    )
    functions = sorted(firmware.image.functions, key=lambda function: function.low)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for block in raw.blocks:
        executed = sum(entry.count for entry in block.counts if entry.owner != HARNESS)
        if not executed:
            continue
        name = next((f.name for f in functions if f.low <= block.address < f.high), "?")
        for instruction in block_instructions(firmware.disassembly, block.address, block.size):
            counts[name][kind_of(instruction)] += executed
    return counts


def measure(model: Any, target: str) -> list[dict[str, Any]]:
    """Return the rows of a model on a core, the hottest function first."""
    firmware = tvm_tiny.build(model.path, target, name=model.name.replace("-", "_"))
    packed, samples = pack_inputs(firmware.metadata.inputs, inputs_of(model, firmware))
    counts = counts_of(firmware, packed[: len(packed) // samples])
    total = sum(kinds.total() for kinds in counts.values())
    hottest = sorted(counts, key=lambda name: -counts[name].total())[:HOTTEST]
    return [
        {
            "model": model.name,
            "target": target,
            "function": name.removeprefix(f"{firmware.name}_"),
            "instructions": counts[name].total(),
            "share": round(counts[name].total() / total, 4),
            "kinds": {kind: counts[name][kind] for kind in KINDS},
        }
        for name in hottest
    ]


def render(report: dict[str, Any]) -> str:
    """Return the page of a report."""
    lines = ["# Hottest functions", "", "Executed instructions of one inference, exact counts;"]
    lines[-1] += f" {report['versions']['compiler']}, {report['versions']['emulator']}."
    columns = ["share", "instructions", *KINDS]
    place = None
    for row in report["rows"]:
        if place != (row["model"], row["target"]):
            place = (row["model"], row["target"])
            lines += ["", f"## {row['model']} on {row['target']}", ""]
            lines += [f"| function | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
        kinds = " | ".join(f"{row['kinds'][kind] / row['instructions']:.0%}" for kind in KINDS)
        figures = f"{row['share']:.1%} | {row['instructions']:,} | {kinds}"
        lines.append(f"| {row['function']} | {figures} |")
    return "\n".join(lines) + "\n"


@click.command()
@common.name_option("--models")
@common.name_option("--targets")
@common.json_option("hot_functions")
def main(models: str, targets: str, path: Path) -> None:
    """Write the table of hot functions."""
    cores = common.chosen(targets, ["cortex-m4", "cortex-m55"])
    names = common.chosen(models, MODELS)
    rows: list[dict[str, Any]] = []
    for model in MODELS.values():
        if model.name in names and model.path.exists():
            for core in cores:
                if core in model.targets:
                    rows += measure(model, core)
                    click.echo(f"{model.name} on {core}")
    common.write(path, rows, render)


if __name__ == "__main__":
    main()
