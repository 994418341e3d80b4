"""Build training firmware, run a step of it, and check the memory that was predicted.

    python benchmarks/training.py [--cases mcunet-5fps-49kb,...] [--json FILE]

Bytes are those of the built firmware, instructions exact counts of one step on the emulator, whose
loss and new weights are compared with those of the same code on this machine. One case is also
built with optimisations left out, to tell what each gives.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tvm import ir  # noqa: E402

from benchmarks import common  # noqa: E402
from benchmarks.table import number, table  # noqa: E402
from tests.support.evaluate_tiny import calls  # noqa: E402
from tests.support.shared import shared_folder  # noqa: E402
from tvm_tiny import importers, zoo  # noqa: E402
from tvm_tiny.pipeline import (  # noqa: E402
    ALL_PASSES,
    Training,
    TrainingPasses,
    derive_training,
    rewrite_for_training,
)
from tvm_tiny.schedules.dialect import spec_of  # noqa: E402
from tvm_tiny.targets.linker import layout_for  # noqa: E402
from tvm_tiny.targets.target import resolve  # noqa: E402
from tvm_tiny.training.build import build_training, predict_memory  # noqa: E402
from tvm_tiny.training.firmware import TargetSteps, TrainingFirmware  # noqa: E402
from tvm_tiny.training.update_plan import SparseUpdate  # noqa: E402

TARGET, RATE = "mps2-an500", 0.001
SAMPLE = np.random.default_rng(0).integers(-128, 128, (1, 128, 128, 3), np.int8), 3
KB = 1024
LOSS = "softmax_cross_entropy"  # the first layer behind the inference
INPUT_GRADIENTS = ("tiny.conv2d_input_gradient", "tiny.depthwise_input_gradient")
PASSES = {
    "own_kernels": "layers ahead of training take any kernel",
    "mask_bits": "masks are bits",
    "fused_masks": "masks and scales are one loop",
    "early_updates": "updates follow their gradient",
    "fused_updates": "gradients of weights update in place",
}
CONFIGS = {"mbv2-w0.35": "mbv2-w0.35-r144", "proxyless-w0.3": "proxyless-w0.3-r176"}


@dataclass(frozen=True)
class Case:
    """A net and a published scheme; `sram` and `flash` are the limits that it is built for.

    `counted` says what the bar is for: "sram" (arena, trained weights and stack) or "arena".
    Where `by_pass`, what each optimisation gives is measured too.
    """

    net: str
    scheme: str
    sram: int
    bar: int
    counted: str = "sram"
    flash: int | None = None
    by_pass: bool = False

    @property
    def name(self) -> str:
        """Net and scheme."""
        return f"{self.net}-{self.scheme}"

    @property
    def plan(self) -> str:
        """What `build_training` takes as its update."""
        return f"{self.net}:{self.scheme}"

    def load(self) -> Any:
        """Return what `build_training` takes: 128x128 images, 10 classes."""
        models = shared_folder() / "models"
        if self.net in CONFIGS:
            path = models / "mcunet" / f"{CONFIGS[self.net]}_imagenet.json"
            return zoo.int8_module(zoo.from_config(path).for_training(), 0)
        return zoo.mcunet_5fps(models / "tiny_training" / "mcunet-5fps-ptq.npz")


_CASES = (
    Case("mcunet-5fps", "49kb", 200_000, 200_000, flash=620_000, by_pass=True),
    Case("mcunet-5fps", "74kb", 256 * KB, 256 * KB),
    Case("mcunet-5fps", "99kb", 256 * KB, 256 * KB),
    Case("mcunet-5fps", "124kb", 256 * KB, 256 * KB),
    Case("mcunet-5fps", "148kb", 256 * KB, 256 * KB),
    Case("mbv2-w0.35", "99kb", 250_000, 141 * KB, "arena"),
    Case("proxyless-w0.3", "98kb", 250_000, 135 * KB, "arena"),
)
CASES = {case.name: case for case in _CASES}


def measure(case: Case) -> dict[str, Any]:
    """Predict, build, run a step on the emulator and on this machine."""
    model, plan = case.load(), case.plan
    options: dict[str, Any] = {"sram": case.sram, "flash": case.flash}
    predicted = predict_memory(model, TARGET, update=plan, **options)
    built = build_training(model, TARGET, update=plan, name="model", **options)
    steps, measured = run(built)
    loss = built.train_step(*SAMPLE, RATE)
    memory = built.memory(steps.first.stack_bytes or 0)
    counted = memory["sram_bytes"] if case.counted == "sram" else memory["arena_bytes"]
    return {
        "name": case.name,
        "target": TARGET,
        **measured,
        "stack_reserved_bytes": layout_for(resolve(TARGET, case.sram)).stack_bytes,
        "counted": case.counted,
        "counted_bytes": counted,
        "bar_bytes": case.bar,
        "predicted_bytes": predicted.sram_bytes,
        "is_predicted": predicted.sram_bytes == memory["arena_bytes"] + memory["trainable_bytes"],
        "memory_steps": predicted.saved,
        "operators": _operators(steps.first.layers),
        "is_exact": bool(np.float32(loss) == steps.losses[0])
        and all(np.array_equal(steps.weights[key], built.weights[key]) for key in built.weights),
        "weights_read_in_place": read_in_place(model, plan),
        "passes": measure_passes(model, plan, steps) if case.by_pass else [],
    }


def run(built: TrainingFirmware) -> tuple[TargetSteps, dict[str, int]]:
    """A step on the emulator: its result, its bytes and instructions."""
    image, label = SAMPLE
    steps = built.run_steps(image, np.array([label]), RATE)
    layers = steps.first.layers
    forward = next(n for n, layer in enumerate(layers) if layer.op == LOSS)
    counts = {
        **built.memory(steps.first.stack_bytes or 0),
        "instructions_step": steps.first.instructions or 0,
        "instructions_forward": sum(layer.instructions or 0 for layer in layers[:forward]),
    }
    return steps, counts


def measure_passes(model: Any, plan: str, expected: TargetSteps) -> list[dict[str, Any]]:
    """Steps with no optimisation, with one after the other, and with all but each.

    All have the board's whole memory, so that no tensor is kept in parts.
    """

    @cache
    def counts(passes: TrainingPasses) -> dict[str, Any]:
        built = build_training(model, TARGET, update=plan, name="model", passes=passes)
        steps, measured = run(built)
        same = steps.losses[0] == expected.losses[0] and all(
            np.array_equal(values, expected.weights[key]) for key, values in steps.weights.items()
        )
        return measured | {"is_same": bool(same)}

    added = TrainingPasses(**dict.fromkeys(PASSES, False))
    rows = [{"name": "none", "added": counts(added), "left_out": counts(ALL_PASSES)}]
    for name in PASSES:
        added = replace(added, **{name: True})
        without = replace(ALL_PASSES, **{name: False})
        rows.append({"name": name, "added": counts(added), "left_out": counts(without)})
    return rows


def read_in_place(model: Any, plan: str) -> dict[str, int]:
    """Bytes of weights that gradients of inputs read as inference has them, untransposed."""
    module = rewrite_for_training(importers.load(model))
    updates = SparseUpdate.parse(plan).resolve(module)
    found = {"frozen_bytes": 0, "trained_bytes": 0}
    for call in calls(derive_training(module, Training(updates)).module):
        if call.op.name in INPUT_GRADIENTS:
            kind = "trained_bytes" if isinstance(call.args[1], ir.Var) else "frozen_bytes"
            found[kind] += spec_of(call.args[1]).nbytes
    return found


def _operators(layers: Any) -> dict[str, dict[str, int]]:
    """Layers, multiply-accumulates and instructions of each operator."""
    found: dict[str, dict[str, int]] = {}
    for layer in layers:
        row = found.setdefault(layer.op, {"layers": 0, "macs": 0, "instructions": 0})
        row["layers"] += 1
        row["macs"] += layer.macs
        row["instructions"] += layer.instructions or 0
    return found


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    titles = ["case", "counted", "bar", "arena", "trained", "stack", "Flash", "step", "inference"]
    rows = [
        [
            row["name"],
            f"{number(row['counted_bytes'])} ({row['counted']})",
            number(row["bar_bytes"]),
            *(number(row[key]) for key in ("arena_bytes", "trainable_bytes", "stack_bytes")),
            *(
                number(row[key])
                for key in ("flash_bytes", "instructions_step", "instructions_forward")
            ),
            "yes" if row["is_predicted"] else "NO",
            "yes" if row["is_exact"] else "NO",
        ]
        for row in report["rows"]
    ]
    saved = [
        [row["name"], *(number(size) for size in row["memory_steps"].values())]
        for row in report["rows"]
    ]
    steps = list(report["rows"][0]["memory_steps"])
    tools = ", ".join(report["versions"].values())
    notes = (
        "Bytes of arena, trained weights and stack (sram), or of the arena alone, which holds "
        "activations and gradients. Instructions are exact counts of one step of training, batch "
        "1, on the emulator's Cortex-M7, and of the inference in it. Predicted: the memory told "
        "without building is the firmware's to the byte. Exact: loss and new weights are those of "
        f"the same code on this machine. {tools}."
    )
    return "\n".join(
        [
            "# Training",
            "",
            *table([*titles, "predicted", "exact"], rows),
            "",
            notes,
            "",
            "The least arena as each pass leaves it:",
            "",
            *table(["case", *steps], saved),
            "",
            *(line for row in report["rows"] if row["passes"] for line in _passes(row)),
        ]
    )


def _passes(row: dict[str, Any]) -> list[str]:
    """The section on what each optimisation gives."""
    keys = ("arena_bytes", "instructions_step", "instructions_forward", "flash_bytes")
    ways = ("added", "left_out")
    cells = [
        [
            PASSES.get(one["name"], "none"),
            *(number(one[way][key]) for way in ways for key in keys),
        ]
        for one in row["passes"]
    ]
    names = ("arena", "step", "inference", "Flash")
    titles = [f"{way}: {name}" for way in ("added", "left out") for name in names]
    same = all(one[way]["is_same"] for one in row["passes"] for way in ways)
    place = row["weights_read_in_place"]
    notes = (
        "From none to all, each is added to those above it (`added`), and left out alone of all "
        "of them (`left out`; beside `none` stands the step with all). All are built for the whole "
        "memory of the board, which has room for the worst; the case itself is built for "
        f"{number(row['bar_bytes'])} bytes, where tensors are kept in parts: its arena is "
        f"{number(row['arena_bytes'])} bytes, its step {number(row['instructions_step'])} "
        f"instructions. Loss and new weights are the same in all: {'yes' if same else 'NO'}. "
        "Two more are how kernels are written and cannot be left out: gradients of inputs read "
        "weights as they lie for the inference, and int8 numbers become floats a tile at a time. "
        "By their sizes, transposed copies of the weights that those gradients read would take "
        f"{number(place['frozen_bytes'])} bytes more of Flash for the frozen ones and "
        f"{number(place['trained_bytes'])} of RAM for the trained ones, as floats four times that."
    )
    title = f"What each optimisation gives, {row['name']}:"
    return [title, "", *table(["optimisation", *titles], cells), "", notes, ""]


@click.command()
@common.name_option("--cases")
@common.json_option("training")
def main(cases: str, path: Path) -> None:
    """Measure cases and write the table."""
    rows = []
    for name in common.chosen(cases, CASES):
        rows.append(measure(CASES[name]))
        row = rows[-1]
        click.echo(
            f"{name}: {row['counted_bytes']:,} of {row['bar_bytes']:,} bytes, "
            f"{row['instructions_step']:,} instructions, exact {row['is_exact']}"
        )
    common.write(path, rows, render)


if __name__ == "__main__":
    main()
