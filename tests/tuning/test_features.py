"""What the cost model knows of a point before anything was measured."""

from __future__ import annotations

import numpy as np

from tests.support.layers import Layer
from tvm_tiny.schedules.dialect import call_of
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.features import features_of, prior
from tvm_tiny.tuning.tasks import Task, point_name


def task_of(core: str) -> Task:
    call = call_of(Layer.parse("conv1x1 6x6x16->8").call())
    return Task(call, frozenset(resolve(core).core.features))


def test_an_order_is_dear_on_other_cores() -> None:
    points = {point_name(point): point for point in task_of("cortex-m4").points}
    plain, grouped, paired = (
        points[f"pairs{order}"] for order in ("", " order=grouped", " order=paired")
    )
    assert prior(grouped, "cortex-m4") < prior(plain, "cortex-m4") == prior(paired, "cortex-m4")
    assert prior(paired, "cortex-m7") < prior(plain, "cortex-m7") == prior(grouped, "cortex-m7")
    assert prior(grouped, "cortex-m33") < prior(plain, "cortex-m33")


def test_points_are_told_apart() -> None:
    task = task_of("cortex-m7")
    rows = {features_of(task, point).tobytes() for point in task.points}
    assert len(rows) > 0.9 * len(task.points)  # names may share a column
    assert all(np.isfinite(features_of(task, point)).all() for point in task.points)
