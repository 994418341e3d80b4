"""`tvm-tiny tune`: measure kernels for a model's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_tiny.cli import terminal
from tvm_tiny.cli.files import writing
from tvm_tiny.cli.options import check_writable, json_option

if TYPE_CHECKING:
    from tvm_tiny.tuning.tune import Progress, TuningResult

METRICS = ("cycles", "instructions")
TRIALS = 12


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, metavar="T", help="Board or core.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=TRIALS,
    show_default=True,
    help="Kernels that are measured for each layer, at most.",
)
@click.option(
    "--database",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of measurements, which are kept and reused. Default: MODEL's name and .tuning.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=METRICS[0],
    show_default=True,
    help="What is made small: estimated cycles or exact instructions.",
)
@click.option("--tracker", metavar="HOST:PORT", help="Measure on all servers of an RPC tracker.")
@click.option("--key", help="The key of those servers.")
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds, equal results.")
@click.option(
    "--page",
    metavar="FILE",
    callback=check_writable,
    help="Also write a page of HTML: learning curves, what won for each layer and why.",
)
@json_option
def tune(
    model: Path,
    target: str,
    trials: int,
    database: Path | None,
    metric: Any,
    tracker: str | None,
    key: str | None,
    seed: int,
    page: str | None,
    json_file: str | None,
) -> None:
    """Measure kernels for MODEL's layers, and keep the fastest.

    The emulator counts. What is measured goes into a database at once: a run that is ended goes on
    where it was. MODEL is a .tflite, .onnx or .pt2 file.
    """
    from tvm_tiny.tuning.tune import tune as tune_model

    folder = database or model.with_suffix(".tuning")
    with _progress(f"tuning {model.name} on {target}") as on_progress:
        result = tune_model(
            model,
            target,
            trials=trials,
            database=folder,
            metric=metric,
            seed=seed,
            tracker=tracker,
            key=key,
            on_progress=on_progress,
        )
    if page:
        from tvm_tiny.tuning.page import write_result

        with writing(Path(page)):
            write_result(Path(page), model.stem, result, folder)
    terminal.emit(summary(result, folder), _facts(result), json_file)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[Progress], None]]:
    """Show on a terminal what each layer is at, and what time is left."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:44.44}", markup=False),
        BarColumn(20),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        everything = bars.add_task(title, total=None, facts="")
        rows: dict[str, Any] = {}

        def show(state: Progress) -> None:
            if state.title not in rows:
                rows[state.title] = bars.add_task(f"  {state.title}", total=state.of, facts="")
            best = "-" if state.best is None else f"best {state.best:,}"
            facts = f"{best}, spread {state.spread:.2f}"
            bars.update(rows[state.title], completed=state.trials, total=state.of, facts=facts)
            left = state.seconds_left
            left_text = "" if left is None else f"{left:.0f} s left"
            bars.update(everything, completed=state.done, total=state.total, facts=left_text)

        yield show


def summary(result: TuningResult, folder: Path) -> str:
    """The table for people."""
    unit = "cycles (estimated)" if result.metric == "cycles" else result.metric
    titles = ("layer", "times", "default", "best", "ratio", "kernel", "trials", "of", "bad")
    table = terminal.table(*titles)
    for task in result.tasks:
        table.add_row(
            task.title,
            str(len(task.layers)),
            _number(task.default),
            _number(task.best),
            f"{task.ratio:.3f}",
            task.point,
            str(len(task.costs)),
            str(task.space),
            str(len(task.errors)),
        )
    correlation = result.rank_correlation
    shown = "-" if correlation is None else f"{correlation:.2f}"
    lines = [
        terminal.render(table),
        "",
        f"{unit}, tuned for default: {result.ratio:.3f}",
        f"{result.measured} kernels measured, {result.reused} known, in {result.seconds:.0f} s",
        f"rank correlation of the cost model: {shown}",
        f"database: {folder}",
        *(f"notice: {notice}" for notice in result.notices),
    ]
    bad = {f"{t.title}, {p}: {e}" for t in result.tasks for p, e in t.errors.items()}
    return "\n".join([*lines, *(f"not usable: {text}" for text in sorted(bad))])


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _facts(result: TuningResult) -> dict[str, Any]:
    facts = asdict(result)
    return facts | {"ratio": result.ratio, "rank_correlation": result.rank_correlation}
