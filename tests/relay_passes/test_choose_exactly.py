from __future__ import annotations

import random
import sys
from dataclasses import replace
from itertools import product

import pytest

from tests.relay_passes.test_choose_kernels import KB, Variant, flash, program, variants
from tests.relay_passes.test_schedule_stages import bottlenecks
from tests.support.calls import side_by_side
from tests.support.layers import Layer as NamedLayer
from tests.support.random_nets import program_of_nets, with_kernels
from tvm_tiny.relay_passes.choose_exactly import (
    FEASIBLE,
    GREEDY,
    OPTIMAL,
    choose_exactly,
    runs_of,
    total_cost,
)
from tvm_tiny.relay_passes.choose_kernels import MARGIN_BYTES, Limits, choose_kernels
from tvm_tiny.relay_passes.fit_memory import OFF, Staging, fit_memory
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Program, program_of

FAST, SMALL = Variant("fast", 100, 8), Variant("small", 400, 2)


@pytest.fixture
def solver() -> None:
    pytest.importorskip("ortools", exc_type=ImportError)


def limited(limit: int, arena_bytes: int | None = None) -> Limits:
    return Limits("speed", limit + MARGIN_BYTES, arena_bytes, is_exact=True)


def every_choice(whole: Program) -> list[Program]:
    return [whole.with_kernels(c) for c in product(*(x.candidates for x in whole.layers))]


def random_variants(generator: random.Random) -> list[Variant]:
    """Return candidates, the fastest first, of which some share what the others have not."""
    costs = sorted(generator.sample(range(100, 900), 3))
    own = [generator.randrange(1, 9) for _ in costs]
    shared = [generator.choice([0, 6, 12]) for _ in costs]
    scratch = [generator.choice([0, 32, 256]) for _ in costs]
    # equal numbers of instructions modulo 1000 share their piece
    rows = zip(("a", "b", "c"), costs, own, shared, scratch, strict=True)
    return [Variant(*row) for row in rows]


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_the_best_of_all(solver: None, seed: int) -> None:
    generator = random.Random(seed)
    kinds = [random_variants(generator) for _ in range(2)]
    whole = program(*(kinds[generator.randrange(2)] for _ in range(4)))
    every = every_choice(whole)
    low, high = min(map(flash, every)), flash(whole)
    arenas = sorted({plan_arena(each).arena_bytes for each in every})
    limit, arena = (low + high) // 2, arenas[len(arenas) // 2]
    able = [p for p in every if flash(p) <= limit and plan_arena(p).arena_bytes <= arena]
    chosen = choose_exactly(whole, limited(limit, arena))
    if able:
        assert flash(chosen) <= limit and plan_arena(chosen).arena_bytes <= arena
        assert total_cost(chosen) == min(map(total_cost, able))
        assert chosen.proof == OPTIMAL


def test_shared_pieces_count_once(solver: None) -> None:
    """The greedy choice pays for what all could share; the exact one sees that it is there."""
    shared = Variant("shared", 150, 1, shared=10)
    whole = program(*[[Variant("fast", 100, 8), shared, Variant("small", 400, 2)]] * 5)
    limit = flash(whole.with_kernels([layer.candidates[1] for layer in whole.layers]))
    chosen = choose_exactly(whole, limited(limit))
    assert variants(chosen) == ["shared"] * 5 or total_cost(chosen) < 5 * 150
    assert total_cost(chosen) <= total_cost(choose_kernels(whole, limited(limit)))
    assert flash(chosen) <= limit


def test_without_need_the_solver_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools", None)
    whole = program([FAST, SMALL], [FAST, SMALL])
    chosen = choose_exactly(whole, limited(flash(whole), plan_arena(whole).arena_bytes))
    assert (variants(chosen), chosen.proof) == (["fast", "fast"], OPTIMAL)


def test_without_or_tools_the_choice_is_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools", None)
    monkeypatch.setitem(sys.modules, "ortools.sat.python.cp_model", None)
    whole = program([FAST, SMALL], [FAST, SMALL])
    limits = limited(flash(whole) - 1)
    chosen = choose_exactly(whole, limits)
    assert variants(chosen) == variants(choose_kernels(whole, limits))
    assert chosen.proof == GREEDY


def test_a_price_for_bytes_is_no_limit() -> None:
    whole = program([FAST, SMALL])
    assert choose_exactly(whole, Limits("size", is_exact=True)).proof == GREEDY


def test_where_nothing_fits_the_choice_is_the_smallest(solver: None) -> None:
    whole = program([FAST, SMALL], [FAST, SMALL])
    chosen = choose_exactly(whole, limited(1 * KB))
    assert (variants(chosen), chosen.proof) == (["small", "small"], GREEDY)


def test_steps_without_room_take_less_scratch(solver: None) -> None:
    greedy, modest = Variant("fast", 100, 1, scratch=512), Variant("modest", 300, 1, scratch=16)
    whole = program([greedy, modest], [Variant("fast", 100, 1), modest])
    # two tensors of 16 bytes and 16 of scratch
    chosen = choose_exactly(whole, limited(100 * KB, 48))
    assert variants(chosen) == ["modest", "fast"]
    assert plan_arena(chosen).arena_bytes <= 48


def test_a_solver_that_is_stopped_proves_nothing(solver: None) -> None:
    whole = program(*[[FAST, SMALL]] * 4)
    limits = limited(flash(whole) - 10 * KB)
    chosen = choose_exactly(whole, limits, effort=0.0)
    assert chosen.proof in (GREEDY, FEASIBLE, OPTIMAL)
    assert total_cost(chosen) <= total_cost(choose_kernels(whole, limits))


DSP = frozenset({"dsp"})
LAYERS = ("conv3x3 12x12x8->16", "conv3x3 12x12x16->16", "conv1x1 10x10x24->32", "dw3x3 12x12x24")


def real_program() -> Program:
    module, _ = side_by_side([NamedLayer.parse(name).call() for name in LAYERS])
    return program_of(module, DSP)


def test_real_layers_cost_no_more_than_by_greed(solver: None) -> None:
    whole = real_program()
    least = min(flash(choose_kernels(whole, Limits("size"))), flash(whole))
    costs = []
    for limit in (flash(whole), (flash(whole) + least) // 2, least):
        limits = limited(limit)
        greedy, _ = fit_memory(whole, replace(limits, is_exact=False), DSP)
        exact, _ = fit_memory(whole, limits, DSP)
        assert flash(exact) <= limit or flash(greedy) > limit
        assert total_cost(exact) <= total_cost(greedy)
        costs.append(total_cost(exact))
    assert costs == sorted(costs)


def test_in_stages_kernels_count_as_often_as_they_run() -> None:
    whole = with_kernels(program_of_nets([bottlenecks().net()]))
    assert set(runs_of(whole)) == {1}
    staged, _ = fit_memory(whole, Limits(arena_bytes=plan_arena(whole).arena_bytes // 2))
    counts = runs_of(staged)
    assert max(counts) > 1
    pairs = zip(counts, staged.layers, strict=True)
    assert total_cost(staged) == sum(count * layer.chosen.cost for count, layer in pairs)


@pytest.mark.slow
def test_stages_cost_no_more_than_by_greed(solver: None) -> None:
    whole = with_kernels(program_of_nets([bottlenecks().net()]))
    limits = Limits(arena_bytes=plan_arena(whole).arena_bytes // 2)
    staged, _ = fit_memory(whole, limits)
    limits = replace(limits, flash_bytes=flash(staged) - 1 + MARGIN_BYTES)
    greedy, _ = fit_memory(whole, limits)
    exact, plan = fit_memory(whole, replace(limits, is_exact=True))
    assert total_cost(exact) <= total_cost(greedy)
    assert plan.arena_bytes <= (limits.arena_bytes or 0)


def test_a_small_arena_costs_no_more_than_by_greed(solver: None) -> None:
    whole = real_program()
    arena = plan_arena(whole).arena_bytes
    for part in (0.95, 0.9):
        limits = limited(flash(whole), int(part * arena))
        greedy, _ = fit_memory(whole, replace(limits, is_exact=False), DSP, Staging(OFF))
        exact, plan = fit_memory(whole, limits, DSP, Staging(OFF))
        if plan.arena_bytes <= int(part * arena):
            assert total_cost(exact) <= total_cost(greedy)


def test_all_kernels_agree_on_the_size_of_a_piece() -> None:
    sizes: dict[object, int] = {}
    for layer in real_program().layers:
        for candidate in layer.candidates:
            for piece, size in candidate.pieces.items():
                assert sizes.setdefault(piece, size) == size, piece
