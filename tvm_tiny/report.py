"""A run as a table for people."""

from __future__ import annotations


from rich.console import Console, Group, RenderableType
from rich.table import Table

from tvm_tiny.result import RunResult

WIDTH = 110


def render(result: RunResult) -> str:
    """The report as plain text."""
    console = Console(width=WIDTH, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(tables(result))
    return capture.get()


def tables(result: RunResult) -> RenderableType:
    """The report for a rich console: a summary and a row for every layer."""
    return Group(_summary(result), _layers(result), *_notes(result))


def _summary(result: RunResult) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for title, value in _facts(result):
        table.add_row(title, value)
    return table


def _facts(result: RunResult) -> list[tuple[str, str]]:
    bound = result.arena_lower_bound_bytes
    facts = [
        ("target", f"{result.target} ({result.core})"),
        ("arena", f"{_number(result.arena_bytes)} bytes (lower bound {_number(bound)})"),
        ("stack", f"{_number(result.stack_bytes)} bytes (peak of the run function)"),
        ("Flash, code", f"{_number(result.flash_code_bytes)} bytes"),
        ("Flash, weights", f"{_number(result.flash_weights_bytes)} bytes"),
        ("instructions", f"{_number(result.instructions)} (exact, one inference)"),
        ("cycles", f"{_number(result.cycles_estimated)} (estimated)"),
    ]
    return [(title, value) for title, value in facts if not value.startswith("-")]




def _layers(result: RunResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("layer", max_width=36, overflow="ellipsis", no_wrap=True)
    table.add_column("operator")
    for title in ("MACs", "instructions", "per MAC", "share", "cycles est.", "output bytes"):
        table.add_column(title, justify="right")
    total = result.instructions or 0
    for index, layer in enumerate(result.layers):
        count = layer.instructions
        table.add_row(
            str(index),
            layer.name,
            layer.op,
            _number(layer.macs or None),
            _number(count),
            f"{count / layer.macs:.2f}" if count and layer.macs else "-",
            f"{100 * count / total:.1f} %" if count and total else "-",
            _number(layer.cycles_estimated),
            _number(layer.output_bytes),
        )
    return table


def _notes(result: RunResult) -> list[str]:
    return [f"Cycles are estimated: {result.cycles_error}"] if result.cycles_error else []


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
