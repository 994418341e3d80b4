"""The arena's plans of random graphs beside their lower bounds, and what the solver proves of them.

    python benchmarks/planner.py --json benchmarks/results/planner.json

The proofs need OR-tools (the extra `planner`). All graphs are those of the seeds 0, 1, 2 ...
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks import common  # noqa: E402
from tests.support.programs import drifting_program, random_program, wild_program  # noqa: E402
from tvm_tiny.relay_passes.certify_plan import certify  # noqa: E402
from tvm_tiny.relay_passes.plan_arena import plan_arena  # noqa: E402
from tvm_tiny.relay_passes.program import Program  # noqa: E402

LAYERS = (5, 10, 20, 40, 60)
MOST_LAYERS = 200  # of every twentieth graph
KINDS: dict[str, tuple[Callable[[int, int], Program], int, str]] = {
    "networks": (random_program, 400, "chains, inverted bottlenecks with residuals, branches"),
    "wild": (wild_program, 400, "each layer reads up to three of the last six tensors"),
    "drifting": (drifting_program, 200, "sweeps of about one size, each below its input"),
}
COLUMNS = ("graphs", "met", "within", "proven", "undecided", "worse", "seconds", "slowest")
TITLES = (
    "graphs",
    "bound met",
    "within 1 % of it",
    "more, but proven optimal",
    "not decided",
    "a better plan exists",
    "planning, s",
    "the slowest, s",
)


def layers_of(seed: int) -> int:
    """Return how many layers the graph of a seed has at least."""
    return random.Random(seed).choice(LAYERS) if seed % 20 else MOST_LAYERS


def measure(kind: str, count: int, proof_seconds: float) -> dict[str, Any]:
    """Plan graphs of a kind; what is more than 1 % above its bound goes to the solver."""
    grown, _, about = KINDS[kind]
    seconds, verdicts, misses = [], Counter[str](), []
    for seed in range(count):
        program = grown(seed, layers_of(seed))
        begin = time.process_time()
        plan = plan_arena(program)
        seconds.append(time.process_time() - begin)
        size, bound = plan.arena_bytes, plan.lower_bound_bytes
        if size <= 1.01 * bound:
            verdicts["met" if size == bound else "within"] += 1
            continue
        certificate = certify(program, plan, proof_seconds)
        verdicts[certificate.verdict] += 1
        miss = {"seed": seed, "arena_bytes": size, "lower_bound_bytes": bound}
        misses.append(
            miss
            | {"verdict": certificate.verdict, "least_found_bytes": certificate.plan.arena_bytes}
            | {"proven_bytes": certificate.proven_bytes}
        )
    return {
        "kind": kind,
        "about": about,
        "graphs": count,
        "met": verdicts["met"],
        "within": verdicts["within"],
        "proven": verdicts["optimal"],
        "undecided": verdicts["undecided"],
        "worse": verdicts["better"],
        "seconds": round(sum(seconds), 1),
        "slowest": round(max(seconds), 2),
        "misses": misses,
    }


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    rows = report["rows"]
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in COLUMNS[:-1]}
    total |= {"kind": "all", "seconds": round(total["seconds"], 1)}
    total["slowest"] = max(row["slowest"] for row in rows)
    lines = [
        "# Plans of random graphs",
        "",
        "Written by `python benchmarks/planner.py`. Every twentieth graph has 200 layers, others",
        "5 to 60. The solver (CP-SAT) is asked where a plan is more than 1 % above its bound.",
        "Seconds are of one core's time.",
        "",
        "| kind | " + " | ".join(TITLES) + " |",
        "|---|" + "---:|" * len(TITLES),
    ]
    for row in [*rows, total]:
        lines.append(f"| {row['kind']} | " + " | ".join(str(row[n]) for n in COLUMNS) + " |")
    lines += ["", *(f"- {row['kind']}: {row['about']}" for row in rows)]
    return "\n".join(lines) + "\n"


@click.command()
@common.name_option("--kinds")
@click.option("--graphs", type=int, help="Of each kind (default: 400, 400 and 200).")
@click.option("--proof-seconds", default=20.0, show_default=True, help="For the solver, a graph.")
@common.json_option("planner")
def main(kinds: str, graphs: int | None, proof_seconds: float, path: Path) -> None:
    """Plan random graphs and write the table."""
    rows = []
    for kind in common.chosen(kinds, KINDS):
        rows.append(measure(kind, graphs or KINDS[kind][1], proof_seconds))
        counts = ", ".join(f"{name} {rows[-1][name]}" for name in COLUMNS)
        click.echo(f"{kind}: {counts}")
    common.write(path, rows, render)


if __name__ == "__main__":
    main()
