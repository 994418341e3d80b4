"""The benchmark's figures beside those of other runtimes, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

Row = dict[str, Any]
Figures = dict[str, int]
PeerTable = dict[str, dict[str, Figures]]

PEERS = Path(__file__).with_name("peers.toml")


def read_peers(path: Path) -> PeerTable:
    """Return figures of other runtimes by model and core."""
    content = msgspec.toml.decode(path.read_bytes())
    return {name: value for name, value in content.items() if isinstance(value, dict)}


# title, and its text from (row, figures of others for that model and core)
COLUMNS: tuple[tuple[str, Callable[[Row, Figures], str]], ...] = (
    ("model", lambda row, peers: row["model"]),
    ("target", lambda row, peers: row["target"]),
    ("instructions", lambda row, peers: number(row["instructions"])),
    ("per MAC", lambda row, peers: f"{row['instructions'] / row['macs']:.2f}"),
    ("TFLM portable", lambda row, peers: number(peers.get("tflm_portable"))),
    ("TFLM CMSIS-NN", lambda row, peers: number(peers.get("tflm_cmsis_nn"))),
    ("TinyEngine exact", lambda row, peers: number(peers.get("tinyengine_integer"))),
    ("TinyEngine float", lambda row, peers: number(peers.get("tinyengine_float"))),
    ("cycles (estimated)", lambda row, peers: number(row["cycles_estimated"])),
    ("arena", lambda row, peers: number(row["arena_bytes"])),
    ("lower bound", lambda row, peers: number(row["arena_lower_bound_bytes"])),
    ("TFLM CMSIS-NN arena", lambda row, peers: number(peers.get("tflm_cmsis_nn_arena"))),
    ("TinyEngine SRAM", lambda row, peers: number(peers.get("tinyengine_sram"))),
    ("stack", lambda row, peers: number(row["stack_bytes"])),
    ("code", lambda row, peers: number(row["flash_code_bytes"])),
    ("TFLM CMSIS-NN code", lambda row, peers: number(peers.get("tflm_cmsis_nn_code"))),
    ("weights", lambda row, peers: number(row["flash_weights_bytes"])),
    ("exact", lambda row, peers: {True: "yes", False: "NO", None: "-"}[row["exact"]]),
    ("build, s", lambda row, peers: f"{row['build_seconds']}"),
)


def render(report: dict[str, Any], peers: PeerTable) -> str:
    """Return the page."""
    whole = [row for row in report["rows"] if "error" not in row]
    broken = [row for row in report["rows"] if "error" in row]
    cells = [
        [text(row, peers.get(row["model"], {}).get(row["target"], {})) for _, text in COLUMNS]
        for row in whole
    ]
    lines = [
        "# Models, measured",
        "",
        "Written by `make bench`. Instructions are exact counts of one inference on the emulator,",
        "cycles are estimates, memory is in bytes. `exact`: all outputs have the bits of TFLite",
        "Micro. Figures of others are measured too, with the same tools: see peers.toml.",
        "",
        *(f"- {role}: {version}" for role, version in report["versions"].items()),
        "",
        *table([title for title, _ in COLUMNS], cells, left=2),
    ]
    lines += ["", *(failure(row) for row in broken)] if broken else []
    return "\n".join(lines) + "\n"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return a Markdown table whose first `left` columns are aligned to the left."""
    rules = ["---"] * left + ["---:"] * (len(titles) - left)
    return [f"| {' | '.join(cells)} |" for cells in (titles, rules, *rows)]


def failure(row: Row) -> str:
    """Return why a row has no figures."""
    return f"- {row['model']} on {row['target']}: {row['error'].splitlines()[0]}"


def number(value: int | None) -> str:
    """Return a number with separators, or a dash."""
    return "-" if value is None else f"{value:,}"
