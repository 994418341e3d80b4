"""Tuned firmware beside default firmware, and how the search gets there.

    python benchmarks/tuning.py [--parts models,curves,throughput,limits] [--models kws01]
        [--targets cortex-m4] [--database DIR] [--json FILE]

`models`: each model built with a database of measured kernels and with the table of costs alone,
both run on the emulator; outputs are compared bit for bit. `curves`: trials until within two
percent of the best of an exhaustive search, by the cost model and at random. `throughput`: measured
candidates a second. `limits`: Flash of int8 weights and 40 KB, and multiples of it.
Cycles are estimates. Only `throughput` depends on the machine.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks import common, measuring  # noqa: E402
from benchmarks.models import MODELS, inputs_of, is_exact  # noqa: E402
from benchmarks.table import Row, number, table  # noqa: E402
from tests.support.calls import side_by_side  # noqa: E402
from tests.support.layers import Layer  # noqa: E402
from tvm_tiny.pipeline import rewrite  # noqa: E402
from tvm_tiny.relay_passes.program import program_of  # noqa: E402
from tvm_tiny.schedules.candidates import Candidate  # noqa: E402
from tvm_tiny.schedules.dialect import Call  # noqa: E402
from tvm_tiny.targets.target import resolve  # noqa: E402
from tvm_tiny.tuning.choose import NO_DATABASE, Records  # noqa: E402
from tvm_tiny.tuning.measure import Bench  # noqa: E402
from tvm_tiny.tuning.tasks import key_of, point_name, tasks_of  # noqa: E402
from tvm_tiny.tuning.trial import Measurement, Trial  # noqa: E402
from tvm_tiny.tuning.tune import SEARCHES, TaskResult, tune  # noqa: E402

TARGETS = ("cortex-m4", "cortex-m7", "cortex-m55")
TUNED = ("ad01", "kws01", "vww01", "ic01", "mcunet-vww1", "mcunet-320kb")
PARTS = ("models", "curves", "throughput", "limits")
SHIPPED = "shipped"  # the database that comes with the package
FLASH_PARTS, CODE = (1.0, 1.2, 2.0), 40 << 10
TIMEOUT_S = 1200.0
NEAR = 1.02  # of the best of all, as good as the best
SEEDS = range(5)
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # trials at which curves are shown
ENOUGH = 1000  # trials of a layer, more than it has kernels
SHAPES = (  # whose whole space is measured
    "conv1x1 10x10x24->32",
    "conv1x1 6x6x64->64",
    "conv1x1 24x24x8->16",
    "conv3x3 12x12x16->16",
    "conv3x3 8x8x32->32",
    "conv3x3s2 24x24x3->8",
    "dw3x3 12x12x32",
    "dw3x3s2 24x24x16",
    "dw5x5 10x10x24",
    "fc 256->64",
)


@dataclass
class Remembering:
    """A bench that measures nothing twice, whatever model, search or seed asks."""

    bench: Bench
    known: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    keys: dict[int, tuple[Call, str]] = field(default_factory=dict)  # by the identity of calls

    def measure(self, trials: Sequence[Trial]) -> list[Measurement]:
        """What each trial gives."""
        keys = [(self._key(t.call), point_name(t.candidate)) for t in trials]
        new = {key: t for key, t in zip(keys, trials, strict=True) if key not in self.known}
        results = self.bench.measure(list(new.values()))
        self.known |= zip(new, results, strict=True)
        return [self.known[key] for key in keys]

    def _key(self, call: Call) -> str:
        if id(call) not in self.keys:
            self.keys[id(call)] = call, key_of(call)
        return self.keys[id(call)][1]


@dataclass
class Exhaustive:
    """Every kernel of every layer, measured when somebody asks for the layer."""

    bench: Remembering

    def is_known(self, call: Call) -> bool:
        """It will be."""
        return True

    def known(self, call: Call, space: Sequence[Candidate]) -> dict[str, Measurement]:
        """All points of a call."""
        trials = [Trial(call, point, self.bench.bench.target.core.name) for point in space]
        pairs = zip(trials, self.bench.measure(trials), strict=True)
        return {point_name(trial.candidate): result for trial, result in pairs}

    def count(self) -> int:
        """Everything is there, when it is asked for."""
        return 1

    def stale(self) -> str:
        """Nothing is."""
        return ""


def tuned_row(name: str, target: str, database: str | Records | None) -> Row:
    """Build a model with and without the database, run both, and compare."""
    row: Row = {"part": "models", "model": name, "target": target}
    model = MODELS[name]
    try:
        default = tvm_tiny.build(model.path, target, name=name, database=NO_DATABASE)
        tuned = tvm_tiny.build(model.path, target, name=name, database=database)
        inputs = inputs_of(model, default)
        first, second = (f.run(inputs, timeout_s=TIMEOUT_S) for f in (default, tuned))
        exact = is_exact(model, inputs, tuned, second)
    except Exception as error:  # one broken model must not hide the others
        return row | {"error": f"{type(error).__name__}: {error}"}
    pairs = zip(first.outputs, second.outputs, strict=True)
    return row | {
        "default_cycles": first.cycles_estimated,
        "tuned_cycles": second.cycles_estimated,
        "ratio": (second.cycles_estimated or 0) / (first.cycles_estimated or 1),
        "default_instructions": first.instructions,
        "tuned_instructions": second.instructions,
        "flash_bytes": second.flash_code_bytes + second.flash_weights_bytes,
        "proof": tuned.metadata.choice,
        "same_outputs": all(np.array_equal(a, b) for a, b in pairs),
        "exact": exact,
    }


def limit_rows(name: str, target: str, database: str | Records | None) -> Iterator[Row]:
    """Build a model for three limits of Flash, and say what it takes within each."""
    path = MODELS[name].path
    core = resolve(target).core
    weights = sum(
        layer.weights for layer in program_of(rewrite(tvm_tiny.load(path)), core.features).layers
    )
    for part in FLASH_PARTS:
        limit = int(part * (weights + CODE))
        row: Row = {"part": "limits", "model": name, "target": target, "flash_limit": limit}
        try:
            firmware = tvm_tiny.build(path, target, name=name, flash=limit, database=database)
            result = firmware.profile()
        except Exception as error:  # a limit that nothing fits is a row too
            yield row | {"error": f"{type(error).__name__}: {error}"}
            continue
        yield row | {
            "flash_bytes": result.flash_code_bytes + result.flash_weights_bytes,
            "cycles": result.cycles_estimated,
            "kernels": [layer.kernel for layer in result.layers],
            "proof": firmware.metadata.choice,
        }


def curve_rows(target: str, bench: Remembering) -> Iterator[Row]:
    """Search all shapes together, by each search and seed, and count trials."""
    module, _ = side_by_side([Layer.parse(shape).call() for shape in SHAPES])
    features = bench.bench.target.core.features
    best: dict[str, int] = {}
    for task in tasks_of(program_of(rewrite(module), features), features):
        measured = bench.measure([Trial(task.call, point, target) for point in task.points])
        best[task.key] = min(m.cycles for m in measured if m.cycles is not None)
    costs = {
        (search, seed): searched(module, target, search, seed, bench)
        for search in SEARCHES
        for seed in SEEDS
    }
    for found in costs[SEARCHES[0], 0]:
        row: Row = {"part": "curves", "layer": found.title, "target": target}
        row |= {"space": found.space, "best_cycles": best[found.key]}
        for search in SEARCHES:
            runs = [of_key(costs[search, seed], found.key) for seed in SEEDS]
            row[search] = [needed(run, best[found.key]) for run in runs]
            row[f"{search}_curves"] = [falling(run, best[found.key]) for run in runs]
        yield row


def searched(
    module: Any, target: str, search: str, seed: int, bench: Remembering
) -> tuple[TaskResult, ...]:
    """Tune the shapes from nothing until the search has no more to try."""
    with tempfile.TemporaryDirectory() as folder:
        return tune(
            module,
            target,
            trials=ENOUGH,
            database=folder,
            seed=seed,
            search=search,
            bench=bench,
        ).tasks


def of_key(tasks: Sequence[TaskResult], key: str) -> Sequence[int | None]:
    """Return a layer's cycles in the order of trials."""
    return next(task.costs for task in tasks if task.key == key)


def falling(values: Sequence[int | None], best: int) -> list[float]:
    """Return the best after `STEPS` trials, as multiples of the best of all."""
    costs = [float("inf") if value is None else value / best for value in values]
    curve = list(accumulate(costs, min))
    return [round(curve[min(step, len(curve)) - 1], 4) for step in STEPS]


def needed(values: Sequence[int | None], best: int) -> int | None:
    """Return how many trials it took to be near the best; None if it never was."""
    near = (n for n, value in enumerate(values, 1) if value is not None and value <= NEAR * best)
    return next(near, None)


def geometric_mean(ratios: Sequence[float]) -> float:
    """Return the mean of factors."""
    return exp(sum(map(log, ratios)) / len(ratios)) if ratios else 1.0


def render(report: Row) -> str:
    """Return the page."""
    rows = report["rows"]
    by_part = {part: [r for r in rows if r["part"] == part and "error" not in r] for part in PARTS}
    lines = [
        "# Tuning, measured",
        "",
        "Written by `benchmarks/tuning.py`. Cycles are estimates.",
        "",
    ]
    lines += [f"- {role}: {version}" for role, version in report["versions"].items()]
    for part, chapter in CHAPTERS.items():
        if by_part[part]:
            lines += ["", *chapter(by_part[part])]
    lines += ["", *(f"- {summary(row)}" for row in rows if "error" in row)]
    return "\n".join(lines).rstrip() + "\n"


def models_chapter(rows: list[Row]) -> list[str]:
    """Return the table of tuned models."""
    titles = ("model", "target", "default cycles", "tuned", "ratio")
    titles += ("default instructions", "tuned", "same outputs", "exact")
    cells = [
        [
            *(row["model"], row["target"], number(row["default_cycles"])),
            *(number(row["tuned_cycles"]), f"{row['ratio']:.3f}"),
            *(number(row[f"{kind}_instructions"]) for kind in ("default", "tuned")),
            *("yes" if row[name] else "NO" for name in ("same_outputs", "exact")),
        ]
        for row in rows
    ]
    ratios = [row["ratio"] for row in rows]
    mean = f"Geometric mean {geometric_mean(ratios):.3f}, worst {max(ratios):.3f}."
    return ["## Tuned against default", "", *table(titles, cells, left=2), "", mean]


def curves_chapter(rows: list[Row]) -> list[str]:
    """Return the table of searches, medians over the seeds, and the means of their curves."""
    titles = ("layer", "target", "kernels", "best cycles", *SEARCHES, "of the space")
    cells = [
        [
            *(row["layer"], row["target"], number(row["space"]), number(row["best_cycles"])),
            *(middle(row[name]) for name in SEARCHES),
            part_of_space(row[SEARCHES[0]], row["space"]),
        ]
        for row in rows
    ]
    about = f"Trials until within 2 % of the best of all, median of {len(SEEDS)} seeds."
    lines = ["## Trials", "", about, "", *table(titles, cells, left=2)]
    about = (
        "The best cycles after so many trials for the best of all, mean of all layers and seeds."
    )
    cells = [
        [target, search, *(f"{value:.3f}" for value in mean_curve(rows, target, search))]
        for target in dict.fromkeys(row["target"] for row in rows)
        for search in SEARCHES
    ]
    return [*lines, "", about, "", *table(("target", "search", *map(str, STEPS)), cells, left=2)]


def part_of_space(trials: Sequence[int | None], space: int) -> str:
    """Return the median of some trials as a part of all there are."""
    value = median([float("inf") if t is None else t for t in trials])
    return "never" if value == float("inf") else f"{100 * value / space:.0f} %"


def mean_curve(rows: list[Row], target: str, search: str) -> list[float]:
    """Return the mean of the curves of a target's layers and all seeds."""
    curves = [c for r in rows if r["target"] == target for c in r[f"{search}_curves"]]
    return [float(value) for value in np.mean(curves, axis=0)]


def middle(trials: Sequence[int | None]) -> str:
    """Return a median; searches that never got there count as endless."""
    value = median([float("inf") if t is None else t for t in trials])
    return "never" if value == float("inf") else f"{value:g}"


def throughput_chapter(rows: list[Row]) -> list[str]:
    """Return the table of the bench's throughput."""
    titles = ("core", "kernels", "trials", "a second", "on two free cores", "emulator's share")
    cells = [
        [
            *(row["core"], row["kernels"], number(row["trials"])),
            *(f"{row[name]:.1f}" for name in ("per_second", "on_two_cores")),
            f"{100 * row['emulator_share']:.0f} %",
        ]
        for row in rows
    ]
    about = "By the clock, and what the processor time of each allows where two cores are free."
    return ["## Throughput", "", about, "", *table(titles, cells, left=2)]


def limits_chapter(rows: list[Row]) -> list[str]:
    """Return the table of limits."""
    titles = ("model", "target", "Flash limit", "Flash", "cycles", "choice")
    cells = [
        [
            *(row["model"], row["target"]),
            *(number(row[name]) for name in ("flash_limit", "flash_bytes", "cycles")),
            row["proof"] or "by the table of costs",
        ]
        for row in rows
    ]
    return ["## Limits of Flash", "", *table(titles, cells, left=2)]


CHAPTERS: dict[str, Callable[[list[Row]], list[str]]] = {
    "models": models_chapter,
    "curves": curves_chapter,
    "throughput": throughput_chapter,
    "limits": limits_chapter,
}


def summary(row: Row) -> str:
    """Return a row as a line of progress."""
    what = " ".join(str(row[k]) for k in ("part", "model", "layer", "target", "core") if k in row)
    if "error" in row:
        return f"{what}: {row['error'].splitlines()[0]}"
    shown = [
        "ratio",
        "same_outputs",
        "exact",
        "per_second",
        "on_two_cores",
        "flash_limit",
        "flash_bytes",
        "cycles",
    ]
    shown += ["space", *SEARCHES] if row["part"] == "curves" else []
    return f"{what}: " + ", ".join(f"{name} {row[name]}" for name in shown if name in row)


def rows_of(part: str, names: list[str], target: str, database: str | None) -> Iterator[Row]:
    """Return the rows of a part on a core."""
    if part == "throughput":
        yield from ({"part": part} | asdict(row) for row in measuring.measure(resolve(target), 200))
        return
    with Bench(target) as measuring_bench:
        bench = Remembering(measuring_bench)
        source = (
            Exhaustive(bench) if database is None else None if database == SHIPPED else database
        )
        if part == "curves":
            yield from curve_rows(target, bench)
        for name in names if part == "models" else ():
            yield tuned_row(name, target, source)
        for name in names if part == "limits" else ():
            yield from limit_rows(name, target, source)


@click.command()
@common.name_option("--parts")
@common.name_option("--models")
@common.name_option("--targets")
@click.option(
    "--database",
    help="What `tvm-tiny tune` has written, or `shipped` (default: every kernel is measured).",
)
@common.json_option("tuning")
def main(parts: str, models: str, targets: str, database: str | None, path: Path) -> None:
    """Measure tuned firmware, and the tuner."""
    rows: list[Row] = []
    names = common.chosen(models, TUNED)
    for part in common.chosen(parts, PARTS):
        for target in common.chosen(targets, TARGETS):
            for row in rows_of(part, names, target, database):
                rows.append(row)
                click.echo(summary(row))
                common.write(path, rows, render)  # a run of hours may be ended


if __name__ == "__main__":
    main()
