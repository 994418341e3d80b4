"""Fit the table of costs to measurements, and write schedules/costs.toml.

    python benchmarks/costs.py [--operators qconv2d,qdense] [--variants packed]

Each variant runs layers of many sizes on the emulator. A row's coefficients are those of least
relative error that are not negative; those of other operators and variants stay as the table has
them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common  # noqa: E402
from tests.support.variants import Measured, able, measure  # noqa: E402
from tvm_tiny.firmware import Firmware  # noqa: E402
from tvm_tiny.schedules import costs  # noqa: E402
from tvm_tiny.schedules.costs import Row, Table, Work  # noqa: E402
from tvm_tiny.schedules.dialect import OPERATORS  # noqa: E402
from tvm_tiny.targets.elf import read_sections  # noqa: E402
from tvm_tiny.targets.target import resolve  # noqa: E402
from tvm_tiny.targets.toolchain import compile_sources, find_arm_compiler  # noqa: E402

Array = np.ndarray[Any, Any]

TABLE = ROOT / "schedules" / "costs.toml"
RUNTIME = ROOT / "tvm_tiny" / "runtime"
# Instructions are those of the first core that a variant can run on.
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "cortex-m3")
ALL_FEATURES = frozenset({"dsp", "long", "mve", "fpu", "unaligned"})
DSP = frozenset({"dsp"})  # portable kernels are measured where they have competitors
APART = "qdepthwise_conv2d"  # each of its windows has a micro-kernel and few units
UNITS_APART = ("inputs", "outputs", "channels", "rows", "macs", "inner_macs", "odd_windows")
# What some variants are made of: Helium's depthwise layers, and Winograd's convolutions.
OCTETS = ("inputs", "rows", "octets", "row_octets", "tile_octets")
TILES = ("strip_inputs", "inputs", "strip_outputs", "outputs", "products")
MADE_OF = {
    variant: ("calls", *(f"{kind}_{unit}" for unit in TILES))
    for variant, kind in {"winograd": "square", "winograd_lines": "line"}.items()
}
LAYERS = {
    "qconv2d": (
        *("conv1x1 3x3x64->32", "conv1x1 5x5x128->64", "conv1x1 6x6x32->80", "conv1x1 7x7x24->136"),
        *("conv1x1 8x8x16->16", "conv1x1 10x10x48->12", "conv1x1 12x12x8->48"),
        *("conv1x1 12x12x40->40", "conv1x1 16x16x64->8", "conv1x1 20x20x8->8"),
        *(
            "conv1x1 24x24x24->24",
            "conv1x1 3x3x256->64",
            "conv1x1 9x9x96->16",
            "conv1x1 11x11x6->9",
        ),
        *("conv1x1s2 16x16x32->48", "conv1x1s2 11x11x64->32", "conv1x1 5x5x224->56"),
        *("conv3x3 5x5x16->16", "conv3x3 8x8x32->24", "conv3x3 10x10x8->32", "conv3x3 12x12x4->12"),
        *("conv3x3 16x16x3->16", "conv3x3 16x16x16->8", "conv3x3 7x7x64->16", "conv3x3 9x9x5->7"),
        *("conv3x3s2 32x32x3->16", "conv3x3s2 21x21x3->8", "conv3x3s2 16x16x16->32"),
        *("conv3x3s2 9x9x32->32", "conv5x5 12x12x8->16", "conv5x5s2 16x16x3->24"),
        *("conv10x4s2 25x10x1->32", "conv4x4s2 12x12x16->24", "conv7x7s2 24x24x3->8"),
        *(
            "conv1x1 14x14x10->20",
            "conv1x1 9x9x12->33",
            "conv1x1 13x13x16->8",
            "conv3x3 4x4x48->48",
        ),
        *("conv3x3 13x13x12->20", "conv3x3 20x20x16->16", "conv3x3 6x6x64->64"),
        *("conv3x3 10x10x32->16", "conv3x3 18x18x8->8"),
        *("conv3x3 6x6x24->40", "conv3x3 20x20x1->8", "conv3x3s2 14x14x24->32"),
        *("conv3x3 5x5x64->48", "conv3x3 14x14x20->15", "conv3x3 7x7x32->33"),
        *("conv1x3 1x64x16->32", "conv1x3 1x40x64->48", "conv1x3 1x100x3->17", "conv5x3 8x9x8->10"),
        *("conv1x1 40x40x4->8", "conv5x5s2 14x14x6->10", "conv10x4s2 30x12x1->16"),
    ),
    "qdepthwise_conv2d": (
        *("dw3x3 3x3x64", "dw3x3 5x5x32", "dw3x3 6x6x96", "dw3x3 8x8x64", "dw3x3 10x10x24"),
        *("dw3x3 12x12x40", "dw3x3 16x16x16", "dw3x3 25x5x64", "dw3x3 32x32x8", "dw3x3 11x11x13"),
        *("dw3x3s2 6x6x64", "dw3x3s2 9x9x32", "dw3x3s2 12x12x48", "dw3x3s2 16x16x16"),
        *("dw3x3s2 24x24x12", "dw3x3s2 32x32x8", "dw5x5 5x5x64", "dw5x5 8x8x32", "dw5x5 10x10x48"),
        *("dw5x5 12x12x16", "dw5x5 20x20x8", "dw5x5s2 9x9x48", "dw5x5s2 12x12x24"),
        *("dw5x5s2 20x20x16", "dw7x7 5x5x48", "dw7x7 8x8x24", "dw7x7 10x10x32", "dw7x7 16x16x8"),
        *(
            "dw7x7s2 10x10x32",
            "dw7x7s2 20x20x16",
            "dw5x5 6x6x96",
            "dw5x5 40x40x4",
            "dw5x5s2 10x10x40",
        ),
        *("dw5x5s2 24x24x8", "dw7x7 20x20x4", "dw7x7 11x11x18", "dw7x7s2 12x12x24"),
        *(
            "dw7x7s2 7x7x40",
            "dw7x7s2 24x24x8",
            "dw3x3 20x20x20",
            "dw3x3 48x48x4",
            "dw3x3s2 11x11x10",
        ),
        # inputs and outputs differ
        *("dw3x3 10x10x8->24", "dw3x3s2 12x12x8->16", "dw5x5 10x10x8->16", "dw5x5s2 12x12x8->24"),
        *("dw7x7 10x10x8->16", "dw7x7s2 12x12x8->24"),
    ),
    "qdense": (
        *("fc 8->128", "fc 128->8", "fc 128->128", "fc 640->128", "fc 64->12", "fc 256->2"),
        *("fc 100->10", "fc 33->17", "fc 32->640", "fc 512->64"),
    ),
}
STEPS = 100


def rows_of(operator: str, asked: str) -> Iterator[tuple[str, Row]]:
    """Measure an operator's variants, or those asked for, and return their rows."""
    features = {v.name: v.features for v in OPERATORS[f"tiny.{operator}"].variants}
    found = {layer: able(layer, ALL_FEATURES) for layer in LAYERS[operator]}
    for variant in dict.fromkeys(v for row in found.values() for v in row):
        if asked and variant not in asked.split(","):
            continue
        jobs = [(layer, *row[variant]) for layer, row in found.items() if variant in row]
        cores = [resolve(core) for core in CORES]
        able_cores = [c for c in cores if features.get(variant, DSP) <= set(c.core.features)]
        measured = [(core, *measure(jobs, core)) for core in able_cores]
        _, rows, firmware = measured[0]
        cycles = {core.core.cycle_model: cycles_of(rows) for core, rows, _ in measured}
        yield variant, row_of(rows, firmware, cycles)


def cycles_of(rows: Sequence[Measured]) -> float:
    """Return estimated cycles for an instruction."""
    cycles = sum(row.result.cycles_estimated or 0 for row in rows)
    return round(cycles / sum(row.result.instructions or 0 for row in rows), 2)


def row_of(rows: Sequence[Measured], firmware: Firmware, cycles: dict[str, float]) -> Row:
    """Return the row of a variant."""
    variant = rows[0].candidate.variant
    works = [costs.work_of(row.call) for row in rows]
    counts = [float(row.result.instructions or 0) for row in rows]
    apart = {work.window for work in works} if rows[0].result.op == APART else set()
    windows = {}
    for window in sorted(apart):
        chosen = [i for i, work in enumerate(works) if work.window == window]
        part = [works[i] for i in chosen], [counts[i] for i in chosen]
        units = OCTETS if variant == "helium" else UNITS_APART
        windows[window] = fit(*part, units)
    tiled = {unit for units in MADE_OF.values() for unit in units} - {"calls"}
    units = MADE_OF.get(variant, [unit for unit in works[0].units if unit not in tiled])
    return Row(fit(works, counts, units), windows, cycles, loops_bytes(rows, firmware))


def fit(works: Sequence[Work], counts: Sequence[float], units: Iterable[str]) -> dict[str, float]:
    """Return coefficients of least squared relative error, none of them negative."""
    units = [unit for unit in units if any(work.units[unit] for work in works)]
    matrix = np.array([[work.units[unit] for unit in units] for work in works])
    matrix = matrix / np.array(counts)[:, None]
    solution = least_squares(matrix, np.ones(len(works)))
    return {u: round(float(x), 4) for u, x in zip(units, solution, strict=True) if x >= 5e-5}


def loops_bytes(rows: Sequence[Measured], firmware: Firmware) -> int:
    """Return the mean size of the functions that call the micro-kernels."""
    names = {row.candidate.kernel.name for row in rows if row.candidate.kernel}
    pattern = re.compile(rf"layers_({'|'.join(names)})_\d+")
    sizes = [f.high - f.low for f in firmware.image.functions if pattern.fullmatch(f.name)]
    return round(sum(sizes) / len(sizes))


def least_squares(matrix: Array, goal: Array) -> Array:
    """Return the x >= 0 of least |matrix x - goal|, by the method of Lawson and Hanson."""
    scale = np.linalg.norm(matrix, axis=0)
    matrix = matrix / scale
    solution = np.zeros(matrix.shape[1])
    free = np.zeros(matrix.shape[1], bool)
    for _ in range(STEPS):
        gradient = np.where(free, -np.inf, matrix.T @ (goal - matrix @ solution))
        if gradient.max() < 1e-9:
            break
        free[gradient.argmax()] = True
        trial = _unbounded(matrix, goal, free)
        while (trial[free] <= 0).any():
            wrong = free & (trial <= 0)
            step = (solution[wrong] / (solution[wrong] - trial[wrong])).min()
            solution += step * (trial - solution)
            free &= solution > 1e-12
            trial = _unbounded(matrix, goal, free)
        solution = trial
    return solution / scale


def _unbounded(matrix: Array, goal: Array, free: Array) -> Array:
    solution = np.zeros(matrix.shape[1])
    solution[free] = np.linalg.lstsq(matrix[:, free], goal, rcond=None)[0]
    return solution


OF_TRAINING = ("_wide", "_gradient", "_backward", "_update", "_loss", "_weights_image")


def function_sizes() -> dict[str, int]:
    """Return the bytes of each function of the C runtime with all that it calls, on any core.

    Functions of training share what other files of theirs have: those count without it.
    """
    sizes: dict[str, int] = {}
    runtime = {path.name: path.read_text() for path in sorted(RUNTIME.iterdir())}
    for core in (resolve(CORES[0]), resolve(CORES[3])):
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            flags = (*core.compiler_flags, "-std=c99", "-O2", "-ffunction-sections")
            objects = compile_sources(find_arm_compiler(), runtime, directory, flags)
            for one in objects:
                linked = [one] if any(word in one for word in OF_TRAINING) else objects
                for name in _global_functions([directory / one]):
                    size = _linked_bytes(name, linked, directory, core.compiler_flags)
                    sizes[name] = max(size, sizes.get(name, 0))
    return dict(sorted(sizes.items()))


def _global_functions(objects: Sequence[Path]) -> list[str]:
    command = ["arm-none-eabi-nm", "--defined-only", "--extern-only", *map(str, objects)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.findall(r" T (\w+)", listed)


def _linked_bytes(name: str, objects: Sequence[str], directory: Path, flags: Sequence[str]) -> int:
    """Return the size of an image of one function."""
    linker = f"-Wl,--gc-sections,-e,{name},--unresolved-symbols=ignore-all"
    command = [find_arm_compiler(), *flags, "-nostdlib", linker, *objects, "-o", "one.elf"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return sum(section.size for section in read_sections(directory / "one.elf"))


def text_of(table: Table) -> str:
    """Return the table as TOML, rows and numbers in a fixed order."""
    lines = ["# Written by benchmarks/costs.py; what the figures mean says schedules/costs.py.", ""]
    lines += ["[image]", *_lines(msgspec.to_builtins(table.image)), ""]
    lines += ["[functions]", *_lines(table.functions)]
    for operator, rows in sorted(table.variants.items()):
        for variant, row in sorted(rows.items()):
            head = f"variants.{operator}.{variant}"
            lines += ["", f"[{head}]", f"code_bytes = {row.code_bytes}"]
            lines += ["", f"[{head}.cycles]", *_lines(row.cycles)]
            lines += ["", f"[{head}.instructions]", *_lines(row.instructions)]
            for window, coefficients in sorted(row.windows.items()):
                lines += ["", f"[{head}.windows.{window}]", *_lines(coefficients)]
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, float]) -> list[str]:
    return [f"{name} = {value}" for name, value in values.items()]


@click.command()
@common.name_option("--operators")
@common.name_option("--variants")
def main(operators: str, variants: str) -> None:
    """Measure operators and write the table."""
    table = costs.table()
    rows = {name: dict(table.variants.get(name, {})) for name in LAYERS}
    for operator in common.chosen(operators, LAYERS):
        measured = dict(rows_of(operator, variants))
        rows[operator] = rows[operator] | measured if variants else measured
        click.echo(f"{operator}: {', '.join(measured)}")
    TABLE.write_text(text_of(Table(table.image, function_sizes(), rows)))


if __name__ == "__main__":
    main()
