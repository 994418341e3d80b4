"""The search: optimal where that can be told, else better than chance."""

from __future__ import annotations

import builtins
import itertools
import sys
from typing import Any

import pytest

from tests.support.quick import quick_some
from tests.training.nets import small
from tests.training.tables import memory_of, table
from tvm_tiny.errors import DoesNotFitError, MissingExtraError
from tvm_tiny.training.contributions import SHARES, Contributions
from tvm_tiny.training.memory import analytic_memory
from tvm_tiny.training.search_plan import Memory, search_plan
from tvm_tiny.training.update_plan import SparseUpdate

pytest.importorskip("optuna")


def optimum(given: Contributions, memory: Memory, limit: float) -> float:
    """Of all plans that train weights only where they train biases."""
    best = 0.0
    for biases in range(given.depth + 1):
        for numbers in itertools.product(range(len(given.shares) + 1), repeat=biases):
            weights = {layer: number - 1 for layer, number in enumerate(numbers) if number}
            gain = given.gain(biases, weights)
            if gain > best and memory(given.plan(biases, weights)) <= limit:
                best = gain
    return best


@quick_some("seed", range(6), 3)
def test_small_knapsacks_are_solved(seed: int) -> None:
    given, memory = table(6, (0.25, 0.5, 1.0), seed), memory_of(6, seed)
    found = search_plan(given, memory, 40, samples=800, seed=seed)
    assert found.gain == pytest.approx(optimum(given, memory, 40))
    assert found.memory == memory(found.plan) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_evolution_beats_chance(seed: int) -> None:
    """Even one of twice as many plans."""
    from tvm_tiny.training.evolution import EvolutionSampler
    from tvm_tiny.training.search_plan import run

    given, memory = table(30, SHARES, seed), memory_of(30, seed)
    evolved = search_plan(given, memory, 150, samples=600, seed=seed)
    chance = EvolutionSampler(given.depth, len(given.shares), seed, evolves=False)
    drawn = run(chance, given, memory, 150, 1200)
    assert evolved.gain > 1.1 * drawn.gain
    assert evolved.memory <= 150
    assert evolved.measured < evolved.samples == 600


def test_the_same_seed_finds_the_same_plan() -> None:
    given, memory = table(12, SHARES, 0), memory_of(12, 0)
    first, second = (search_plan(given, memory, 60, samples=200, seed=3) for _ in range(2))
    assert first == second


def test_what_only_loses_is_not_trained() -> None:
    losing = Contributions(("a", "b"), (1.0,), 90.0, (-1.0, -2.0), ((-1.0,), (-3.0,)))
    found = search_plan(losing, lambda plan: 0.0, 1, samples=50)
    assert (found.plan, found.gain) == (SparseUpdate(layer_count=2), 0.0)


def test_plans_found_for_a_model_fit_it() -> None:
    """The memory is that of the published analysis here, in KB."""
    names = tuple(update.layer for update in SparseUpdate().resolve(small())[:-1])
    given = Contributions(names, SHARES, 50.0, (1.0,) * 7, ((0.1, 0.2, 0.3, 0.4),) * 7)
    memory = analytic_memory(small())
    found = search_plan(given, memory, 0.5, samples=300)
    assert found.plan.resolve(small())
    assert found.gain > 1.5 and found.memory == memory(found.plan) <= 0.5


def test_too_small_limits_are_refused() -> None:
    with pytest.raises(DoesNotFitError, match="classifier alone does not fit"):
        search_plan(table(3, SHARES, 0), lambda plan: 10.0, 9)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Optuna is not installed."""
    original = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "tvm_tiny.training.evolution", raising=False)
    import tvm_tiny.training

    monkeypatch.delattr(tvm_tiny.training, "evolution", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"tvm_tiny\[search\]"):
        search_plan(table(3, SHARES, 0), lambda plan: 0.0, 9)
