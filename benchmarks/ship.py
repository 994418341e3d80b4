"""Tune all shared models and write what the package ships: one small file for each core.

    python benchmarks/ship.py [--models kws01,ic01] [--targets cortex-m4] [--trials 24] --work DIR

Measurements go into the folder WORK first, from which a run that was ended goes on. The files are
written after each model.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common  # noqa: E402
from benchmarks.models import MODELS, SMALL  # noqa: E402
from tvm_tiny.targets.target import resolve  # noqa: E402
from tvm_tiny.tuning.database import Database  # noqa: E402
from tvm_tiny.tuning.measure import Bench  # noqa: E402
from tvm_tiny.tuning.shipped import ship  # noqa: E402
from tvm_tiny.tuning.tasks import Task  # noqa: E402
from tvm_tiny.tuning.tune import TRIALS, model_tasks, tune  # noqa: E402


@click.command()
@common.name_option("--models")
@common.name_option("--targets")
@click.option("--trials", default=TRIALS, show_default=True, help="Kernels of a layer, at most.")
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(models: str, targets: str, trials: int, work: Path) -> None:
    """Tune models and write the package's files."""
    names = common.chosen(targets, SMALL)
    with ExitStack() as stack:
        benches = {name: stack.enter_context(Bench(resolve(name))) for name in names}
        for model in common.chosen(models, MODELS):
            tasks: dict[frozenset[str], list[Task]] = {}  # cores of equal features share kernels
            for name in (name for name in names if name in MODELS[model].targets):
                path, bench = MODELS[model].path, benches[name]
                target = bench.target
                features = frozenset(target.core.features)
                if features not in tasks:
                    tasks[features] = model_tasks(path, target)
                options = {"trials": trials, "database": work / name, "bench": bench}
                result = tune(path, target, tasks=tasks[features], **options)
                click.echo(f"{model} on {name}: {result.ratio:.3f}, {result.measured} measured")
                click.echo(ship(Database(work / name), target))


if __name__ == "__main__":
    main()
