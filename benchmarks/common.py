"""What the benchmarks share: options, versions of the tools, where results go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

import tvm_tiny

RESULTS = Path(__file__).with_name("results")


def name_option(option: str) -> Callable[[Any], Any]:
    """Return an option that takes names, separated by commas."""
    return click.option(option, default="", help="Names, separated by commas (default: all).")


def json_option(name: str) -> Callable[[Any], Any]:
    """Return the option that says where to write; `name` is the default file's."""
    return click.option(
        "--json",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=RESULTS / f"{name}.json",
        help="Where to write; the Markdown table goes beside it.",
    )


def chosen(given: str, known: Iterable[str]) -> list[str]:
    """Return the names of a name option that are known, in the order of `known`."""
    names, known = set(filter(None, given.split(","))), list(known)
    unknown = names - set(known)
    if unknown:
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    return [name for name in known if not names or name in names]


def versions() -> dict[str, str]:
    """Return what the figures were made with."""
    tools = {"compiler": "arm-none-eabi-gcc", "emulator": "qemu-system-arm"}
    found = {
        role: subprocess.run(
            [tool, "--version"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
        for role, tool in tools.items()
    }
    return found | {"tvm_tiny": tvm_tiny.__version__}


def write(path: Path, rows: list[dict[str, Any]], render: Callable[[dict[str, Any]], str]) -> None:
    """Write the rows as JSON, and the page of them beside it."""
    report = {"versions": versions(), "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    path.with_suffix(".md").write_text(render(report))
