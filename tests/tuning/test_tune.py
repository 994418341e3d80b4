"""The whole run on a bench that measures nothing: never worse, repeatable, resumable."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.support.calls import side_by_side
from tests.support.layers import Layer
from tests.tuning.fake import BROKEN, FakeBench, KilledError
from tvm_tiny import cli
from tvm_tiny.errors import TargetError
from tvm_tiny.pipeline import rewrite
from tvm_tiny.relay_passes.program import program_of
from tvm_tiny.schedules.costs import flash_bytes
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.cost_model import CostModel, rank_correlation
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.search import EvolutionarySearch, RandomSearch
from tvm_tiny.tuning.tasks import Task, point_name, tasks_of
from tvm_tiny.tuning.tune import Progress, TuningResult, best_points, tune

pytest.importorskip("xgboost")
LAYERS = ("conv1x1 6x6x16->8", "conv1x1 6x6x16->8", "conv1x1 8x8x8->16", "dw3x3 6x6x8")
TARGET = "cortex-m4"


@pytest.fixture(scope="module")
def module() -> Any:
    return side_by_side([Layer.parse(name).call() for name in LAYERS])[0]


@pytest.fixture(scope="module")
def tasks(module: Any) -> list[Task]:
    features = resolve(TARGET).core.features
    return tasks_of(program_of(rewrite(module), features), features)


@pytest.fixture(autouse=True)
def _kernels_are_made_once(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvm_tiny.tuning.tune.tasks_of", lambda program, features: tasks)


def tuned(module: Any, folder: Path, bench: FakeBench, **options: Any) -> TuningResult:
    return tune(module, TARGET, database=folder, bench=bench, **{"trials": 6} | options)


def found(result: TuningResult) -> list[Any]:
    return [(task.key, task.point, task.best, task.costs) for task in result.tasks]


def test_a_run_finds_what_is_worth_something(module: Any, tmp_path: Path) -> None:
    states: list[Progress] = []
    bench = FakeBench()
    result = tuned(module, tmp_path, bench, on_progress=states.append)
    assert [len(task.layers) for task in result.tasks] == [2, 1, 1]  # equal layers are one
    for task in result.tasks:
        assert task.default and task.best and task.best <= task.default
        assert "grouped" in task.point
        assert len(task.costs) <= 6
        assert task.ratio < 0.97 < 1.0 <= task.spread
    assert result.ratio < 0.97
    assert result.measured == len(bench.asked) == len(set(bench.asked))
    assert states[-1].done == result.measured
    assert states[-1].seconds_left is not None


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(module: Any, tmp_path: Path) -> None:
    whole = tuned(module, tmp_path / "whole", FakeBench())
    first, second = FakeBench(lives=8), FakeBench()
    with pytest.raises(KilledError):
        tuned(module, tmp_path / "killed", first)
    assert first.asked
    resumed = tuned(module, tmp_path / "killed", second)
    assert found(resumed) == found(whole)
    assert not set(first.asked) & set(second.asked)
    assert resumed.reused == len(first.asked)
    assert resumed.measured == len(second.asked) == whole.measured - resumed.reused


def test_other_seeds_and_searches_have_their_own_order(module: Any, tmp_path: Path) -> None:
    a = tuned(module, tmp_path / "a", FakeBench(), search="random")
    b = tuned(module, tmp_path / "b", FakeBench(), search="random", seed=1)
    assert [task.costs for task in a.tasks] != [task.costs for task in b.tasks]
    with pytest.raises(TargetError, match="unknown search 'luck'"):
        tuned(module, tmp_path / "c", FakeBench(), search="luck")


def test_a_wrong_candidate_never_wins(module: Any, tmp_path: Path) -> None:
    result = tuned(module, tmp_path, FakeBench(), trials=100)
    errors = [task.errors for task in result.tasks if task.errors]
    assert errors
    assert all(BROKEN in each for each in errors)
    assert all(task.point != BROKEN for task in result.tasks)
    assert all(len(task.costs) == task.space for task in result.tasks)  # all of the space


def test_metrics_differ(module: Any, tmp_path: Path) -> None:
    result = tuned(module, tmp_path, FakeBench(), metric="instructions")
    assert result.ratio == 1.0  # of the fake, no option saves instructions


@pytest.mark.slow
def test_stale_records_are_told_of(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(module, tmp_path, FakeBench())
    monkeypatch.setattr("tvm_tiny.tuning.database.kernel_library_hash", lambda: "another")
    bench = FakeBench()
    result = tuned(module, tmp_path, bench)
    assert result.reused == 0
    assert bench.asked
    assert "measurements of another version are not used" in result.notices[0]


def test_searches_propose_each_point_once(tasks: list[Task]) -> None:
    task = tasks[0]
    version = Version(TARGET, "compiler", "hash")
    evolution = EvolutionarySearch(task, version, CostModel(), 0, TARGET)
    for search in (RandomSearch(task, 0), evolution):
        search.tell({0: 1000.0})
        seen = [0]
        while points := search.propose(2):
            search.tell({point: 1000.0 + point for point in points})
            seen += points
        assert sorted(seen) == list(range(len(task.points)))


@pytest.mark.slow
def test_best_points_are_for_choosing(module: Any, tasks: list[Task], tmp_path: Path) -> None:
    tuned(module, tmp_path, FakeBench(), trials=100)
    points = best_points(tasks[0], Database(tmp_path), Version.of(resolve(TARGET)))
    assert [value for value, _ in points] == sorted(value for value, _ in points)
    assert BROKEN not in [point_name(point) for _, point in points]


def test_the_model_learns_what_an_option_is_worth() -> None:
    rows = [np.array([i % 2, i], np.float32) for i in range(20)]
    model = CostModel()
    model.learn(rows, [100.0] * 20, [100.0 if i % 2 else 50.0 for i in range(20)])
    odd, even = model.predict(rows[1::-1], [1000.0, 1000.0])
    assert np.exp(odd) == pytest.approx(1000, rel=0.05)
    assert np.exp(even) == pytest.approx(500, rel=0.05)


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None


def test_the_command_line_says_what_it_needs() -> None:
    done = CliRunner().invoke(cli.main, ["tune", "--help"])
    assert done.exit_code == 0
    assert "--trials" in done.output and "--database" in done.output


def test_what_has_no_room_is_not_measured(tasks: list[Task], tmp_path: Path) -> None:
    whole, task = resolve(TARGET), tasks[0]
    needed = {
        point_name(point): flash_bytes([point.pieces])
        for point in task.points
        if point.kernel is not None
    }
    small = replace(whole, flash_bytes=max(needed.values()) - 1)
    too_large = {name for name, size in needed.items() if size > small.flash_bytes}
    bench = FakeBench()
    tune_all = partial(tune, None, database=tmp_path, tasks=[task], trials=100)
    result = tune_all(target=small, bench=bench)
    asked = {name.partition(") ")[2] for name in bench.asked}
    assert asked == {point_name(point) for point in task.points} - too_large
    errors = result.tasks[0].errors
    assert all(f"bytes of Flash, of {small.flash_bytes:,}" in errors[name] for name in too_large)
    larger = tune_all(target=whole, bench=FakeBench())
    assert larger.measured == len(too_large)
    assert not too_large & set(larger.tasks[0].errors)
