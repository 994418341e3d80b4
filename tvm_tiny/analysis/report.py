"""The report of `memory` as text: a summary, what patches would give, a row for every layer."""

from __future__ import annotations

from itertools import accumulate

from rich.console import Console, Group, RenderableType
from rich.table import Table

from tvm_tiny.analysis.memory import LayerMemory, MemoryReport, PatchMemory

WIDTH = 110
SHORTEST_NAME = 12
NAME = 2
HEADINGS = (
    *("\n#", "\nconv.", "\nlayer", "\noperator", "\noutput"),
    *("\nMACs", "\nparameters", "\nbytes", "bytes,\nin place"),
)
LEFT = HEADINGS[NAME : NAME + 3]


def render(report: MemoryReport) -> str:
    """The report as plain text."""
    console = Console(width=WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(tables(report))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def tables(report: MemoryReport) -> RenderableType:
    """The report for a rich console."""
    facts = [
        ("MACs", f"{report.macs:,}"),
        ("parameters", f"{report.parameters:,} ({report.weights:,} weights)"),
        ("peak", f"{_size(report.peak_bytes)} at {report.peak_layer}"),
        ("peak, in place", f"{_size(report.peak_in_place_bytes)} at {report.peak_in_place_layer}"),
    ]
    parts: list[RenderableType] = [_facts(facts), ""]
    if report.patched is not None:
        parts += [_facts(_patch_facts(report.patched)), ""]
    return Group(*parts, _layers(report))


def _patch_facts(patched: PatchMemory) -> list[tuple[str, str]]:
    grid, stage = patched.patch, patched.stage_macs
    height, width = patched.input_patch
    return [
        ("patches", f"{grid.rows}x{grid.columns} up to {patched.last_layer}"),
        ("", f"({grid.split} convolutions), {height}x{width} pixels of the image each"),
        ("stage MACs", f"{stage:,}"),
        ("  full patches", _work(patched.stage_macs_full, stage)),
        ("  inside the image", _work(patched.stage_macs_clipped, stage)),
        ("MACs, full patches", _work(patched.macs_full, patched.macs)),
        ("  inside the image", _work(patched.macs_clipped, patched.macs)),
        ("a patch", _size(patched.patch_bytes)),
        ("stage's results", _size(patched.output_bytes)),
        ("layers behind", _size(patched.rest_bytes)),
        ("peak, patches", _size(patched.peak_bytes)),
        ("  with the image", _size(patched.peak_with_image_bytes)),
    ]


def _facts(facts: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for title, value in facts:
        table.add_row(title, value)
    return table


def _layers(report: MemoryReport) -> Table:
    convolutions = accumulate(int(layer.is_convolution) for layer in report.layers)
    rows = [
        _cells(number, layer, count)
        for number, (layer, count) in enumerate(zip(report.layers, convolutions, strict=True))
    ]
    room = _room_for_names(rows)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in LEFT else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row[:NAME], _shorten(row[NAME], room), *row[NAME + 1 :])
    return table


def _cells(number: int, layer: LayerMemory, convolutions: int) -> tuple[str, ...]:
    in_place = "above" if layer.in_place_bytes is None else f"{layer.in_place_bytes:,}"
    return (
        str(number),
        str(convolutions) if layer.is_convolution else "",
        layer.name,
        layer.operator,
        "x".join(map(str, layer.output)),
        f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.parameters:,}" if layer.parameters else "-",
        f"{layer.live_bytes:,}",
        in_place,
    )


def _room_for_names(rows: list[tuple[str, ...]]) -> int:
    """What the other columns, each with a space behind it, leave of the width."""
    columns = [
        [*heading.split("\n"), *cells] for heading, *cells in zip(HEADINGS, *rows, strict=True)
    ]
    others = [max(map(len, column)) + 1 for i, column in enumerate(columns) if i != NAME]
    return max(SHORTEST_NAME, WIDTH - sum(others))


def _shorten(name: str, room: int) -> str:
    """Long names lose their middle: start and end are what tells layers apart."""
    half = (room - 1) // 2
    return name if len(name) <= room else f"{name[:half]}…{name[-half:]}"


def _size(count: int) -> str:
    return f"{count:,} bytes ({count / 1024:.1f} KB)"


def _work(count: int, base: int) -> str:
    return f"{count:,} ({100 * count / base - 100:+.1f} %)"
