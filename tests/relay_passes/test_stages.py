from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.relay_passes.test_patches import check, complete
from tests.relay_passes.test_tiles import Chain
from tests.support.net_runs import expected_outputs, inputs_of, run_on_core, run_on_host
from tests.support.quick import quick_first
from tests.support.random_nets import Net, program_of_nets, random_net
from tvm_tiny.relay_passes.program import CALL_BACK, Program, Stage, Step
from tvm_tiny.relay_passes.stages import (
    StageMaker,
    copy_of,
    largest_divisor,
    streamable_inputs,
)
from tvm_tiny.schedules import qadd
from tvm_tiny.schedules.dialect import Call, Overlap
from tvm_tiny.targets.target import resolve

NETS, PER_PROGRAM, QUICK = 100, 10, 2
WORDS = (4, 4, 8, 12)  # channels of which rows are whole words
FEATURES = ((), ("dsp",), ("long",))
ROWS = (1, 2, 3, 4, 8)


def made(chain: Chain, most_rows: int, called_back: frozenset[str] = frozenset()) -> Stage:
    """Return all layers of a chain as one stage."""
    program = program_of_nets([chain.net()])
    found = StageMaker(program, (), called_back).make(0, len(program.steps), most_rows)
    assert found is not None
    return found[0]


def capacities(stage: Stage) -> dict[str, int]:
    return {rows.name: rows.capacity for rows in stage.rows}


def test_buffers_hold_what_windows_reach() -> None:
    chain = Chain((16, 16, 4))
    chain.window(3)
    chain.window(3)
    stage = made(chain, 1)
    # one row at a time: three rows for each window, the whole input beside its copy, the output
    assert capacities(stage) == {"x0_rows": 3, "x0": 16, "n0_0": 3, "n0_1": 16}
    assert [rows.border for rows in stage.rows] == [1, 0, 1, 0]
    assert capacities(made(chain, 4))["n0_0"] == 4 + 4 + 1  # four new ones, and the rows before


def test_strides_take_more_rows() -> None:
    chain = Chain((16, 16, 4))
    chain.window(1, channels=8)
    chain.window(5, stride=2)
    stage = made(chain, 2)
    assert capacities(stage)["n0_0"] == 8  # 2 * 2 + 5 - 2 = 7 read, made two at a time
    assert stage.inputs == ("x0",)  # no border: read where it lies


def test_a_residual_keeps_rows_until_they_are_added() -> None:
    chain = Chain((12, 8, 4))
    first = chain.window(1, channels=4)
    for _ in range(3):
        chain.window(3)
    call = Call(qadd.QADD, qadd.attributes((0.5,) * 3, (3, 3, 3)), (chain.values[first],) * 2)
    chain.add(call, first, len(chain.values) - 1)
    assert capacities(made(chain, 1))["n0_0"] == 4  # from the row added to that three below


def test_the_output_lies_over_rows_that_have_been_read() -> None:
    chain = Chain((16, 16, 4))
    chain.window(3)
    stage = made(chain, 2)
    row = 16 * 4
    # four rows have been copied when the first two are written, and all of them at last
    assert stage.overlaps == (Overlap(0),)
    grown = Chain((16, 16, 4))
    grown.window(1, channels=8)
    assert made(grown, 1).overlaps == (Overlap(-16 * row - row),)  # ends a row after the input


def test_inputs_by_call_back_are_nowhere_whole() -> None:
    chain = Chain((16, 16, 4))
    chain.window(3)
    chain.window(3)
    program = program_of_nets([chain.net()])
    assert streamable_inputs(program) == {"x0"}
    stage = made(chain, 2, called_back=frozenset({"x0"}))
    assert stage.inputs == ()
    assert capacities(stage)[copy_of("x0")] == 5  # four are read, and two arrive at a time
    assert [rows.source for rows in stage.rows].count(CALL_BACK) == 1


def test_what_is_read_elsewhere_stays_whole() -> None:
    chain = Chain((16, 16, 4))
    first = chain.window(3)
    chain.window(3)
    chain.window(3)
    call = Call(qadd.QADD, qadd.attributes((0.5,) * 3, (3, 3, 3)), (chain.values[first],) * 2)
    chain.add(call, first, len(chain.values) - 1)
    program = program_of_nets([chain.net()])
    assert StageMaker(program).make(0, 2, 2) is None
    assert StageMaker(program).make(1, 4, 2) is not None


def test_rows_that_are_no_words_are_left_alone() -> None:
    chain = Chain((8, 7, 3))
    chain.window(3)
    program = program_of_nets([chain.net()])
    assert StageMaker(program).make(0, 1, 2) is None


def test_largest_divisor() -> None:
    assert [largest_divisor(12, limit) for limit in (1, 2, 5, 7, 99)] == [1, 2, 4, 6, 12]
    assert largest_divisor(11, 8) == 1


# --- random networks --------------------------------------------------------------------------


def in_strips(net: Net, program: Program, first: int, seed: int, maker: StageMaker) -> list[Step]:
    """Return the steps of a net, of which some that follow each other are stages."""
    generator, last = np.random.default_rng(seed), first + len(net.nodes)
    steps: list[Step] = []
    while first < last:
        ends = [int(end) for end in generator.permutation(np.arange(first + 1, last + 1))]
        rows = int(generator.choice(ROWS))
        found = [(end, maker.make(first, end, rows)) for end in ends[:4]]
        end, stage = next(((e, s) for e, s in found if s is not None), (first + 1, None))
        steps += [stage[0]] if stage is not None else program.steps[first:end]
        first = end
    return steps


def cut(nets: Sequence[Net], seeds: Sequence[int], features: Sequence[str]) -> Program:
    """Return the program of nets with stages at random."""
    program = program_of_nets(nets, features)
    maker, steps, first = StageMaker(program, features), list[Step](), 0
    for net, seed in zip(nets, seeds, strict=True):
        steps += in_strips(net, program, first, seed, maker)
        first += len(net.nodes)
    return complete(program, steps)


STARTS = range(0, NETS, PER_PROGRAM)
BATCHES = [range(QUICK), *(range(first, first + PER_PROGRAM) for first in STARTS)]


@quick_first("seeds", BATCHES, ids=[f"{seeds.start}-{seeds.stop}" for seeds in BATCHES])
def test_random_nets_give_the_same(seeds: range) -> None:
    nets = [random_net(seed, WORDS) for seed in seeds]
    inputs = inputs_of(nets)
    program = cut(nets, seeds, FEATURES[seeds.start // PER_PROGRAM % len(FEATURES)])
    stages = [step for step in program.steps if isinstance(step, Stage)]
    assert sum(len(stage.layers) > 1 for stage in stages) >= len(seeds) // 2
    check(run_on_host(program, inputs), expected_outputs(nets, inputs), seeds)


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_random_nets_on_cores(core: str) -> None:
    seeds = range(1000, 1000 + PER_PROGRAM)
    nets = [random_net(seed, WORDS) for seed in seeds]
    inputs = inputs_of(nets)
    program = cut(nets, seeds, sorted(resolve(core, None, None).core.features))
    check(run_on_core(program, inputs, core), expected_outputs(nets, inputs), seeds)
