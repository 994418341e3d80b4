"""`tvm-tiny explore`: what a model costs in instructions for every SRAM."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tvm_tiny.cli import terminal
from tvm_tiny.cli.options import check_writable, json_option


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, metavar="T", help="Board or core.")
@click.option("--input-rows", is_flag=True, help="The input arrives row by row, by call-back.")
@click.option("--integer-io", is_flag=True, help="Float inputs and outputs become int8.")
@click.option("--measure", is_flag=True, help="Build every point and count its instructions.")
@click.option(
    "--report",
    metavar="FILE",
    callback=check_writable,
    help="Also draw the front: a name ending in .png, .svg or .pdf.",
)
@json_option
def explore(
    model: Path,
    target: str,
    input_rows: bool,
    integer_io: bool,
    measure: bool,
    report: str | None,
    json_file: str | None,
) -> None:
    """Show how few instructions MODEL takes in how much memory.

    Each row is one way to keep only parts of tensors, that no other beats in both. Instructions are
    predicted by the table of kernels' costs, or exact with --measure.
    """
    from tvm_tiny.exploration import explore as explore_model
    from tvm_tiny.exploration import plot

    with terminal.phase(f"exploring {model}"):
        points = explore_model(
            model, target, input_rows=input_rows, integer_io=integer_io, measure=measure
        )
    if report:
        plot(points, report, f"{model.name} on {target}")
    table = terminal.table("arena bytes", "predicted", "exact", "stages")
    for point in points:
        table.add_row(
            f"{point.arena_bytes:,}",
            f"{point.predicted:,}",
            "-" if point.instructions is None else f"{point.instructions:,}",
            " ".join(f"{first}-{last}" for first, last in point.stages) or "none",
        )
    terminal.emit(terminal.render(table), [asdict(point) for point in points], json_file)
