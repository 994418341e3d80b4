"""What people see: text on standard output, progress on a terminal."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_tiny.cli.files import writing
from tvm_tiny.cli.options import STDOUT

if TYPE_CHECKING:
    from rich.table import Table

    from tvm_tiny.result import RunResult

WIDTH = 110


def outputs_text(result: RunResult) -> str:
    """All outputs with their values; long ones are shortened."""
    import numpy as np

    parts = []
    for port, array in zip(result.output_ports, result.outputs, strict=True):
        values = np.array2string(array, threshold=128, max_line_width=WIDTH)
        parts.append(f"{port.name} {port.dtype}{list(array.shape)}\n{values}\n")
    return "\n".join(parts)


def emit(text: str, data: Any, json_file: str | None) -> None:
    """Print `text`, or nothing but JSON where that goes to standard output."""
    encoded = json.dumps(data, indent=2) + "\n"
    if json_file == STDOUT:
        click.echo(encoded, nl=False)
        return
    click.echo(text.rstrip())
    if json_file:
        with writing(Path(json_file)):
            Path(json_file).write_text(encoded, "utf-8")


@contextmanager
def phase(text: str) -> Iterator[None]:
    """Show on a terminal what is going on, and for how long."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        progress.add_task(text, total=None)
        yield


@contextmanager
def notices() -> Iterator[None]:
    """Say once, as one line on standard error, what a build wants to be known."""
    from tvm_tiny.errors import StaleRecordsWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StaleRecordsWarning)
        yield
    for each in caught:
        if issubclass(each.category, StaleRecordsWarning):
            click.echo(f"note: {each.message}", err=True)
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def table(*titles: str) -> Table:
    """An empty table without lines."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        made.add_column(title, justify="right" if title in ("Flash", "SRAM") else "left")
    return made


def render(filled: Table) -> str:
    """A table as plain text."""
    from rich.console import Console

    console = Console(width=WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(filled)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def plain(value: Any) -> str:
    """A value for people."""
    return f"{value:,}" if isinstance(value, int) else str(value)
