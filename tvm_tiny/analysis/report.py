"""The report of `memory` as text: a summary, what patches would give, a row for every layer."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table

from tvm_tiny.analysis.memory import LayerMemory, MemoryReport, PatchMemory

WIDTH = 110
LEFT = ("layer", "operator", "output")
LONGEST_NAME = 40


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
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = (
        "#",
        "conv.",
        "layer",
        "operator",
        "output",
        "MACs",
        "parameters",
        "bytes",
        "in place",
    )
    for title in titles:
        table.add_column(title, justify="left" if title in LEFT else "right", no_wrap=True)
    convolutions = 0
    for number, layer in enumerate(report.layers):
        convolutions += layer.is_convolution
        table.add_row(str(number), *_cells(layer, convolutions))
    return table


def _cells(layer: LayerMemory, convolutions: int) -> tuple[str, ...]:
    half = LONGEST_NAME // 2
    name = (
        layer.name
        if len(layer.name) <= LONGEST_NAME
        else f"{layer.name[:half]}…{layer.name[-half:]}"
    )
    in_place = "added above" if layer.in_place_bytes is None else f"{layer.in_place_bytes:,}"
    return (
        str(convolutions) if layer.is_convolution else "",
        name,
        layer.operator,
        "x".join(map(str, layer.output)),
        f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.parameters:,}" if layer.parameters else "-",
        f"{layer.live_bytes:,}",
        in_place,
    )


def _size(count: int) -> str:
    return f"{count:,} bytes ({count / 1024:.1f} KB)"


def _work(count: int, base: int) -> str:
    return f"{count:,} ({100 * count / base - 100:+.1f} %)"
