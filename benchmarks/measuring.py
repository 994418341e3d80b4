"""How fast candidates are measured, and what the time goes to.

    python benchmarks/measuring.py [--cores cortex-m4,cortex-m55] [--trials 200] [--json FILE]

Trials are distinct kernels of small layers. The first ones, which start the emulator and compile
the C runtime, are not counted. Seconds are of the wall clock and add up over all workers, so that
they may be more than the whole; on a machine with other work they are more than they need to be.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common  # noqa: E402
from tests.support.layers import Layer  # noqa: E402
from tvm_tiny.schedules.candidates import candidates  # noqa: E402
from tvm_tiny.schedules.dialect import call_of  # noqa: E402
from tvm_tiny.targets.target import Target, resolve  # noqa: E402
from tvm_tiny.tuning.measure import Bench  # noqa: E402
from tvm_tiny.tuning.trial import Trial  # noqa: E402

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
WARM = 16
SIZES, DEPTHS, CHANNELS = (4, 5, 6, 7, 8), (8, 12, 16, 24), (8, 16, 20, 32)


@dataclass(frozen=True)
class Throughput:
    """Candidates a second, with and without making their kernels, and shares of the time."""

    core: str
    trials: int
    failed: int
    per_second: float
    per_second_made: float
    making: float
    compiler: float
    linker: float
    emulator: float


def layers() -> Iterator[str]:
    """Names of small layers, all of them different."""
    for size, depth, channels in itertools.product(SIZES, DEPTHS, CHANNELS):
        yield f"conv1x1 {size}x{size}x{depth}->{channels}"
        yield f"dw3x3 {size + 1}x{size}x{depth + channels}"
        yield f"conv3x3 {size}x{size}x{depth}->{channels}"


def trials_of(target: Target) -> Iterator[Trial]:
    """Trials of every variant that can do a layer, one layer after the other."""
    for name in layers():
        call = call_of(Layer.parse(name).call())
        for candidate in candidates(call, target.core.features):
            yield Trial(call, candidate, target.core.name)


def measure(target: Target, count: int) -> Throughput:
    """Measure as many trials, and as many more whose kernels exist already."""
    trials = trials_of(target)
    with Bench(target) as bench:
        bench.measure(list(itertools.islice(trials, WARM)))
        before = bench.spent
        started = time.perf_counter()
        results = bench.measure(list(itertools.islice(trials, count)))
        seconds = time.perf_counter() - started
        spent = bench.spent
        made = [t for t in itertools.islice(trials, count) if t.candidate.kernel is not None]
        started = time.perf_counter()
        bench.measure(made)
        seconds_made = time.perf_counter() - started
    parts = ("making", "compiler", "linker", "emulator")
    shares = {p: round((getattr(spent, p) - getattr(before, p)) / seconds, 3) for p in parts}
    return Throughput(
        core=target.core.name,
        trials=len(results),
        failed=sum(bool(result.error) for result in results),
        per_second=round(len(results) / seconds, 1),
        per_second_made=round(len(made) / seconds_made, 1),
        **shares,
    )


@click.command()
@common.name_option("--cores")
@click.option("--trials", default=200, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False))
def main(cores: str, trials: int, path: Path | None) -> None:
    """Measure the throughput of the bench on each core."""
    rows = []
    for core in common.chosen(cores, CORES):
        rows.append(measure(resolve(core), trials))
        click.echo(json.dumps(asdict(rows[-1])))
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
