"""`tvm-tiny doctor --calibrate`: estimated cycles beside those of boards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli import terminal
from tvm_tiny.targets.cycles import MODELS

if TYPE_CHECKING:
    from tvm_tiny.calibration import Comparison, Summary

BUILT_IN = "built-in"
NO_ERROR = (
    "Published cycles are those of other engines' code: their difference from our estimates is no "
    "error of the cycle models."
)
NO_MODELS = "Models were not found: --models names a folder with their files."


def calibrate(source: str, models: Path | None, json_file: str | None) -> None:
    """Show a table of anchors, from a file or built in, and the errors."""
    from tvm_tiny import calibration

    is_built_in = source == BUILT_IN
    anchors = (
        calibration.published(models) if is_built_in else calibration.read_anchors(Path(source))
    )
    with terminal.phase("running models on the emulator"):
        comparisons = calibration.compare(anchors)
    found = list(calibration.summaries(comparisons))
    data = {
        "rows": [_facts(each) for each in comparisons],
        "summaries": [asdict(each) for each in found],
    }
    terminal.emit(_text(comparisons, found), data, json_file)


def _facts(comparison: Comparison) -> dict[str, Any]:
    anchor = asdict(comparison.anchor)
    path = anchor.pop("path")
    return anchor | {
        "path": None if path is None else str(path),
        "cycles_estimated": comparison.cycles_estimated,
        "own_instructions": comparison.instructions,
        "error": comparison.error,
    }


def _text(comparisons: list[Comparison], found: list[Summary]) -> str:
    lines = [terminal.render(_rows(comparisons)), ""]
    if found:
        table = terminal.table("core", "kind", "rows", "mean", "sd", "worst")
        for each in found:
            figures = (each.mean, each.deviation, each.worst)
            table.add_row(each.core, each.kind, str(each.count), *map(_percent, figures))
        lines += [terminal.render(table), ""]
    if any(comparison.anchor.kind == "published" for comparison in comparisons):
        lines.append(NO_ERROR)
    if any(comparison.anchor.path is None for comparison in comparisons):
        lines.append(NO_MODELS)
    cores = dict.fromkeys(comparison.anchor.core for comparison in comparisons)
    lines += [f"{core}: {MODELS[core].known_error}" for core in cores if core in MODELS]
    return "\n".join(lines)


def _rows(comparisons: list[Comparison]) -> Any:
    table = terminal.table(
        *("board", "model", "whose", "cycles", "estimated", "difference"),
        *("CPI", "estimated CPI"),
    )
    for each in comparisons:
        anchor = each.anchor
        table.add_row(
            *(anchor.board, anchor.model, anchor.engine or anchor.kind, f"{anchor.cycles:,}"),
            "-" if each.cycles_estimated is None else f"{each.cycles_estimated:,}",
            _percent(each.error),
            _ratio(anchor.cycles, anchor.instructions),
            _ratio(each.cycles_estimated, each.instructions),
        )
    return table


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:+.1f} %"


def _ratio(cycles: int | None, instructions: int | None) -> str:
    return f"{cycles / instructions:.3f}" if cycles and instructions else "-"
