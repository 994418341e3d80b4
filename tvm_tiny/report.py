"""A run as a table for people."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table

from tvm_tiny.metadata import StageInfo
from tvm_tiny.result import LayerResult, RunResult

WIDTH = 110
SHORTEST_NAME = 12
# Headings of numbers take two lines where one would be wider than the numbers.
HEADINGS = (
    "\n#",
    "\nlayer",
    "\noperator",
    "\nMACs",
    "\ninstructions",
    "per\nMAC",
    "\nshare",
    "cycles\n(estimated)",
    "output\nbytes",
)
NAME, OPERATOR = 1, 2


def render(result: RunResult) -> str:
    """The report as plain text."""
    console = Console(width=WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(tables(result))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def tables(result: RunResult) -> RenderableType:
    """The report for a rich console: a summary and a row for every layer."""
    return Group(_summary(result), "", _layers(result), *_notes(result))


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
        ("memory", _memory(result)),
        ("stack", f"{_number(result.stack_bytes)} bytes (peak of the run function)"),
        ("Flash, code", f"{_number(result.flash_code_bytes)} bytes"),
        ("Flash, weights", f"{_number(result.flash_weights_bytes)} bytes"),
        ("instructions", f"{_number(result.instructions)} (exact, one inference)"),
        ("cycles", f"{_number(result.cycles_estimated)} (estimated)"),
    ]
    return [(title, value) for title, value in facts if value and not value.startswith("-")]


def _memory(result: RunResult) -> str:
    """What each pass left of the bytes that the model needs."""
    steps = [f"{_number(size)} {name}" for name, size in result.memory_steps.items()]
    parts = [f"layers {s.first}-{s.last} {_how(s)}" for s in result.patch]
    return ", ".join([" -> ".join(steps), *parts])


def _how(stage: StageInfo) -> str:
    if stage.grid is None:
        return "by strips"
    return f"in {stage.grid[0]}x{stage.grid[1]} patches"


def _layers(result: RunResult) -> Table:
    rows = [
        (str(index), layer.name, layer.op, *_cells(layer, result))
        for index, layer in enumerate(result.layers)
    ]
    rows.append(("", "TOTAL", "", *_cells(_total(result), result)))
    room = _room_for_names(rows)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, heading in enumerate(HEADINGS):
        right = index not in (NAME, OPERATOR)
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row[:NAME], _shorten(row[NAME], room), *row[NAME + 1 :])
    return table


def _room_for_names(rows: list[tuple[str, ...]]) -> int:
    """What the other columns, each with a space behind it, leave of the width."""
    cells = [
        [*heading.split("\n"), *column] for heading, *column in zip(HEADINGS, *rows, strict=True)
    ]
    others = [max(map(len, column)) + 1 for index, column in enumerate(cells) if index != NAME]
    return max(SHORTEST_NAME, WIDTH - sum(others))


def _shorten(name: str, room: int) -> str:
    """Long names lose their middle: start and end are what tells layers apart."""
    half = (room - 1) // 2
    return name if len(name) <= room else f"{name[:half]}…{name[-half:]}"


def _cells(layer: LayerResult, result: RunResult) -> tuple[str, ...]:
    count, total = layer.instructions, result.instructions
    return (
        _number(layer.macs or None),
        _number(count),
        f"{count / layer.macs:.2f}" if count and layer.macs else "-",
        f"{100 * count / total:.1f} %" if count and total else "-",
        _number(layer.cycles_estimated),
        _number(layer.output_bytes or None),
    )


def _total(result: RunResult) -> LayerResult:
    """The whole model: with what the run function itself takes, a little more than the rows."""
    macs = sum(layer.macs for layer in result.layers)
    return LayerResult("TOTAL", "", macs, result.instructions, result.cycles_estimated, 0)


def _notes(result: RunResult) -> list[str]:
    return [f"\nCycles are estimated: {result.cycles_error}"] if result.cycles_error else []


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
