"""Measure single layers on every core; write a table as JSON and as Markdown.

    python benchmarks/kernels.py [--layers "fc 64->12,add 8x8x64"] [--targets cortex-m4] [--json F]

Layers are those of kernels.toml. Each is compiled alone; its output is compared with the meaning
in numpy, and its instructions are exact counts on the emulator.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks import common  # noqa: E402
from benchmarks.table import Row, number, table  # noqa: E402
from tests.support.calls import side_by_side  # noqa: E402
from tests.support.layers import Layer  # noqa: E402
from tvm_tiny.arrays import random_inputs  # noqa: E402
from tvm_tiny.schedules.dialect import run_meaning  # noqa: E402
from tvm_tiny.tuning.choose import NO_DATABASE  # noqa: E402

LAYERS = Path(__file__).with_name("kernels.toml")
TARGETS = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55")
TITLES = (
    *("layer", "target", "operations", "instructions", "per operation", "cycles (estimated)"),
    *("CMSIS-NN", "ratio", "prototype, per operation", "exact"),
)


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of others for a layer, by core: instructions, and instructions per operation."""

    cmsis_nn: dict[str, int] = {}
    prototype: dict[str, float] = {}


def measure(name: str, target: str) -> Row:
    """Build, run and compare a layer; what goes wrong is written into the row."""
    row: Row = {"layer": name, "target": target}
    call = Layer.parse(name).call()
    module, _ = side_by_side([call])
    try:
        firmware = tvm_tiny.build(module, target, name="layer", database=NO_DATABASE)
        inputs = random_inputs(firmware.metadata.inputs)
        result = firmware.run(inputs)
    except Exception as error:  # one broken layer must not hide the others
        return row | {"error": f"{type(error).__name__}: {error}"}
    macs = sum(layer.macs for layer in result.layers)
    return row | {
        "operations": macs or inputs[0].size,
        # a layer may have become several: itself and changes of layout
        "instructions": sum(layer.instructions or 0 for layer in result.layers),
        "cycles_estimated": sum(layer.cycles_estimated or 0 for layer in result.layers),
        "exact": np.array_equal(result.output, run_meaning(call, inputs)),
    }


def render(layers: dict[str, Figures], report: Row) -> str:
    """Return the page."""
    whole = [row for row in report["rows"] if "error" not in row]
    broken = [row for row in report["rows"] if "error" in row]
    lines = [
        "# Layers, measured",
        "",
        "Written by `make bench`: single layers as kernels.toml names them, with multipliers and",
        "shifts of their own for each channel. Instructions are exact counts on the emulator,",
        "cycles are estimates. An operation is a multiply-accumulate, or an element of what a pool",
        "or a sum reads. `ratio`: CMSIS-NN's instructions for one of ours. `exact`: the output has",
        "the bits of the meaning. Figures of others: see kernels.toml.",
        "",
        *(f"- {role}: {version}" for role, version in report["versions"].items()),
        f"- {standing(whole, layers)}",
        "",
        *table(TITLES, [cells(row, layers[row["layer"]]) for row in whole], left=2),
        *(f"- {summary(row)}" for row in broken),
    ]
    return "\n".join(lines) + "\n"


def cells(row: Row, others: Figures) -> list[str]:
    """Return a row of the table."""
    cmsis_nn, prototype = (o.get(row["target"]) for o in (others.cmsis_nn, others.prototype))
    return [
        row["layer"],
        row["target"],
        number(row["operations"]),
        number(row["instructions"]),
        f"{row['instructions'] / row['operations']:.3f}",
        number(row["cycles_estimated"]),
        number(cmsis_nn),
        f"{cmsis_nn / row['instructions']:.2f}" if cmsis_nn else "-",
        f"{prototype:.3f}" if prototype else "-",
        "yes" if row["exact"] else "NO",
    ]


def standing(rows: list[Row], layers: dict[str, Figures]) -> str:
    """Say on how many rows each figure of others is undercut."""
    cmsis_nn, prototype = [], []
    for row in rows:
        target, others = row["target"], layers[row["layer"]]
        if target in others.cmsis_nn:
            cmsis_nn.append(row["instructions"] < others.cmsis_nn[target])
        if target in others.prototype:
            limit = others.prototype[target] * row["operations"]
            prototype.append(row["instructions"] < limit)
    return (
        f"fewer instructions than CMSIS-NN in {sum(cmsis_nn)} of {len(cmsis_nn)} rows, than the "
        f"prototypes in {sum(prototype)} of {len(prototype)}"
    )


def summary(row: Row) -> str:
    """Return a row as a line of progress."""
    name = f"{row['layer']} on {row['target']}"
    if "error" in row:
        return f"{name}: {row['error'].splitlines()[0]}"
    return f"{name}: {row['instructions']:,} instructions, exact {row['exact']}"


@click.command()
@common.name_option("--layers")
@common.name_option("--targets")
@common.json_option("kernels")
def main(layers: str, targets: str, path: Path) -> None:
    """Measure layers and write the table."""
    known = msgspec.toml.decode(LAYERS.read_bytes(), type=dict[str, Figures])
    rows = []
    for name in common.chosen(layers, known):
        for target in common.chosen(targets, TARGETS):
            rows.append(measure(name, target))
            click.echo(summary(rows[-1]))
    common.write(path, rows, partial(render, known))


if __name__ == "__main__":
    main()
