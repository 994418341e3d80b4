"""How fast candidates are measured, and what the time goes to.

    python benchmarks/measuring.py [--cores cortex-m4,cortex-m55] [--trials 200] [--json FILE]

Trials are distinct kernels of small layers; those that start the emulator and compile the C runtime
are not counted. Each core is measured twice: with the making of kernels, which is TVM's and the
search's own work, and with kernels that exist. Processor time says what remains true on a machine
that does other work too: of this process, of compiler and linker, of the emulator.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common  # noqa: E402
from tests.support.layers import Layer  # noqa: E402
from tvm_tiny.schedules import spaces  # noqa: E402
from tvm_tiny.schedules.dialect import call_of  # noqa: E402
from tvm_tiny.targets.target import Target, resolve  # noqa: E402
from tvm_tiny.tuning.measure import Bench  # noqa: E402
from tvm_tiny.tuning.trial import Trial  # noqa: E402

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
WARM = 16
SIZES, DEPTHS, CHANNELS = (4, 5, 6, 7, 8), (8, 12, 16, 24), (8, 16, 20, 32)


@dataclass(frozen=True)
class Throughput:
    """Candidates a second by the clock, and milliseconds of processor time for a candidate.

    Those that failed, such as forms that a layer cannot have, do not count. `on_two_cores` is what
    such times allow where both are free: this process runs on one of them.
    """

    core: str
    kernels: str  # made on the way, or there before
    trials: int
    failed: int
    per_second: float
    own_ms: float
    compiler_ms: float
    emulator_ms: float
    on_two_cores: float
    emulator_share: float


def layers() -> Iterator[str]:
    """Names of small layers, all of them different."""
    for size, depth, channels in itertools.product(SIZES, DEPTHS, CHANNELS):
        yield f"conv1x1 {size}x{size}x{depth}->{channels}"
        yield f"dw3x3 {size + 1}x{size}x{depth + channels}"
        yield f"conv3x3 {size}x{size}x{depth}->{channels}"


def trials_of(target: Target) -> Iterator[Trial]:
    """Trials of every point of a layer's space, one layer after the other."""
    for name in layers():
        call = call_of(Layer.parse(name).call())
        for point in spaces.points(call, target.core.features):
            yield Trial(call, point, target.core.name)


def measure(target: Target, count: int) -> list[Throughput]:
    """Measure as many trials, and as many more whose kernels exist already."""
    trials = trials_of(target)
    rows: list[dict[str, Any]] = []
    with Bench(target) as bench:
        bench.measure(list(itertools.islice(trials, WARM)))
        for kernels in ("made", "there"):
            chosen = list(itertools.islice(trials, count))
            if kernels == "there":
                chosen = [t for t in chosen if t.candidate.kernel is not None]
            own, children, started = time.process_time(), children_s(), time.perf_counter()
            results = bench.measure(chosen)
            failed = sum(bool(result.error) for result in results)
            measured = len(results) - failed
            each = 1000 / measured
            rows.append(
                {
                    "core": target.core.name,
                    "kernels": kernels,
                    "trials": len(results),
                    "failed": failed,
                    "per_second": round(measured / (time.perf_counter() - started), 1),
                    "own_ms": round((time.process_time() - own) * each, 1),
                    "compiler_ms": round((children_s() - children) * each, 1),
                }
            )
        children = children_s()
    # the emulator's time is known when it has ended
    total = WARM + sum(row["trials"] - row["failed"] for row in rows)
    emulator_ms = round((children_s() - children) * 1000 / total, 1)
    return [finished(row, emulator_ms) for row in rows]


def children_s() -> float:
    """Return the processor time of child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def finished(row: dict[str, Any], emulator_ms: float) -> Throughput:
    """Return a row with what follows from its processor times."""
    whole = row["own_ms"] + row["compiler_ms"] + emulator_ms
    return Throughput(
        **row,
        emulator_ms=emulator_ms,
        on_two_cores=round(1000 / max(row["own_ms"], whole / 2), 1),
        emulator_share=round(emulator_ms / whole, 3),
    )


@click.command()
@common.name_option("--cores")
@click.option("--trials", default=200, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False))
def main(cores: str, trials: int, path: Path | None) -> None:
    """Measure the throughput of the bench on each core."""
    rows: list[Throughput] = []
    for core in common.chosen(cores, CORES):
        for row in measure(resolve(core), trials):
            rows.append(row)
            click.echo(json.dumps(asdict(row)))
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
