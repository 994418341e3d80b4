"""Contributions: which plans are trained for them, and what is made of the accuracies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.nets import small
from tests.training.tables import table
from tvm_tiny.errors import PlanError
from tvm_tiny.training.contributions import Contributions, measure_contributions
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate


def accuracy(plan: SparseUpdate) -> float:
    """Made up: every bias gains 1, a weight its layer's number times its share."""
    updates = plan.resolve(small())[:-1]
    weights = sum(
        number * (layer.weights or 0)
        for number, update in enumerate(updates)
        for layer in plan.layers
        if layer.layer in (number, update.layer)
    )
    return 40 + sum(update.bias for update in updates) + weights


def test_gains_are_those_of_single_trainings() -> None:
    made = measure_contributions(small(), accuracy)
    assert made.layers[0] == "stem" and len(made.layers) == 7
    assert made.classifier == 40
    assert made.biases == (1, 2, 3, 4, 5, 6, 7)
    assert made.shares == (1 / 8, 1 / 4, 1 / 2, 1)
    assert made.weights[0] == (6 / 8, 6 / 4, 6 / 2, 6)
    assert made.weights[6] == (0, 0, 0, 0)


def test_weights_are_trained_alone_on_top_of_all_biases() -> None:
    asked: list[SparseUpdate] = []

    def evaluate(plan: SparseUpdate) -> float:
        asked.append(plan)
        return 0.0

    told: list[tuple[int, int]] = []
    measure_contributions(
        small(), evaluate, shares=(0.5,), depth=2, progress=lambda *counts: told.append(counts)
    )
    assert asked == [
        SparseUpdate(),
        SparseUpdate.bias_only(1),
        SparseUpdate.bias_only(2),
        SparseUpdate((LayerPlan(6, 0.5),), last_biases=2),
        SparseUpdate((LayerPlan(5, 0.5),), last_biases=2),
    ]
    assert told == [(done, 5) for done in range(1, 6)]


def test_sums_foretell_plans() -> None:
    made = measure_contributions(small(), accuracy)
    plan = made.plan(3, {0: 3, 2: 1})
    assert plan == SparseUpdate(
        (LayerPlan("block1_expand", 1 / 4), LayerPlan("block1_project", 1.0)),
        last_biases=3,
        layer_count=7,
    )
    assert made.classifier + made.gain(3, {0: 3, 2: 1}) == accuracy(plan) == 50


def test_layers_of_one_name_are_told_by_their_numbers() -> None:
    made = Contributions(("x", "y", "x"), (1.0,), 0.0, (0.0,) * 3, ((1.0,),) * 3)
    assert [p.layer for p in made.plan(3, {0: 0, 1: 0, 2: 0}).layers] == [0, "y", 2]


def test_files_hold_the_table(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    made = table(5, (0.5, 1.0), seed=0)
    made.to_file(path)
    assert Contributions.from_file(path) == made


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "x"}, "not a table of contributions of this version"),
        ({"biases": [1.0]}, "not whole"),
        ({"weights": [[1.0]] * 5}, "not whole"),
        ({"shares": [0.0, 1.0]}, "above 0"),
        ({"shares": "x"}, "not a table of contributions"),
    ],
)
def test_broken_files_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table(5, (0.5, 1.0), seed=0).to_file(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(PlanError, match=message):
        Contributions.from_file(path)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(PlanError, match="accuracy of a plan is nan"):
        measure_contributions(small(), lambda plan: float("nan"))
    with pytest.raises(PlanError, match="limit 7, found 8"):
        measure_contributions(small(), accuracy, depth=8)
