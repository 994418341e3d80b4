from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from tests.relay_passes.test_tiles import Chain
from tests.support.net_runs import expected_outputs, inputs_of, run_on_host
from tests.support.random_nets import program_of_nets, with_kernels
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Program, Stage
from tvm_tiny.relay_passes.schedule_stages import StageSearch
from tvm_tiny.schedules import qadd
from tvm_tiny.schedules.dialect import Call


def bottlenecks(blocks: int = 2) -> Chain:
    """Return inverted bottlenecks with residuals, 16x16x4, expanded to 32 channels."""
    chain = Chain((16, 16, 4))
    value = chain.window(3, channels=4)
    for _ in range(blocks):
        chain.window(1, channels=32)
        chain.window(3)
        last = chain.window(1, channels=4)
        call = Call(qadd.QADD, qadd.attributes((0.5,) * 3, (3, 3, 3)), (chain.values[value],) * 2)
        value = chain.add(call, value, last)
    return chain


@pytest.fixture(scope="module")
def chain() -> Chain:
    return bottlenecks()


@pytest.fixture(scope="module")
def program(chain: Chain) -> Program:
    return with_kernels(program_of_nets([chain.net()]))


def test_with_room_for_all_nothing_is_cut(program: Program) -> None:
    search = StageSearch(program)
    found = search.within(search.enough)
    assert found is not None
    assert not any(isinstance(step, Stage) for step in found.program.steps)
    assert found.instructions == sum(layer.chosen.instructions for layer in program.layers)


@pytest.mark.slow
def test_expanded_tensors_never_exist_whole(chain: Chain, program: Program) -> None:
    expanded = 16 * 16 * 32
    found = StageSearch(program).within(expanded)
    assert found is not None and found.peak_bytes <= expanded
    stages = [step for step in found.program.steps if isinstance(step, Stage)]
    inside = {layer.output for stage in stages for layer in stage.layers[:-1]}
    assert {"n0_1", "n0_5"} <= inside  # what the expansions make
    assert plan_arena(found.program).arena_bytes < 2 * expanded
    inputs = inputs_of([chain.net()])
    (outputs,) = run_on_host(found.program, inputs)
    assert (outputs == expected_outputs([chain.net()], inputs)[0][0]).all()


def test_less_memory_takes_more_instructions(program: Program) -> None:
    search = StageSearch(program)
    limits = [search.enough, 8192, 6144, 5120, 4608]
    found = [search.within(limit) for limit in limits]
    costs = [cut.instructions for cut in found if cut is not None]
    assert len(costs) >= 3 and costs == sorted(costs)
    assert all(c.peak_bytes <= limit for c, limit in zip(found, limits, strict=True) if c)


@pytest.mark.slow
def test_the_smallest_is_the_least_that_is_found(program: Program) -> None:
    search = StageSearch(program)
    smallest = search.smallest()
    assert search.within(smallest.peak_bytes) is not None
    assert search.within(smallest.peak_bytes - 17) is None


def test_no_other_cut_is_faster() -> None:
    program = with_kernels(program_of_nets([bottlenecks(1).net()]))
    search, limit = StageSearch(program), 6144
    found = search.within(limit)
    assert found is not None
    assert found.instructions == min(every_cut(search, limit))


def every_cut(search: StageSearch, limit: int) -> list[int]:
    """Return the instructions of all cuts that have room, tried one by one."""
    count = len(search.program.steps)
    options: dict[tuple[int, int], list[int]] = {}
    for first in range(count):
        for key in search._options(first, limit):
            part = search._fitted(key, limit)
            if part is not None and part.bytes_live <= limit:
                options.setdefault(key[:2], []).append(part.instructions)
    totals = []
    for inner in (c for n in range(count) for c in combinations(range(1, count), n)):
        ends = [0, *inner, count]
        parts = [options.get(pair) for pair in pairwise(ends)]
        if all(parts):
            totals.append(sum(min(part) for part in parts if part))
    return totals


def test_the_largest_layer_is_named(program: Program) -> None:
    assert StageSearch(program).largest_layer in {"n0_2", "n0_6"}  # depthwise, on what is expanded
