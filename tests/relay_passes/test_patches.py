from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.support.net_runs import expected_outputs, inputs_of, run_on_core, run_on_host
from tests.support.quick import quick_first
from tests.support.random_nets import Net, program_of_nets, random_net, with_kernels
from tvm_tiny.relay_passes.patches import make_patches
from tvm_tiny.relay_passes.program import Patches, Program, Step, outputs_of
from tvm_tiny.targets.target import resolve

NETS, PER_PROGRAM, QUICK = 100, 10, 3
FEATURES = ((), ("dsp",))


def cut(net: Net, program: Program, first: int, seed: int, features: Sequence[str]) -> list[Step]:
    """Return the steps of a net, the first some as patches, sometimes in two stages."""
    generator = np.random.default_rng(seed)
    last = first + len(net.nodes)
    steps: list[Step] = []
    for _ in range(int(generator.integers(1, 3))):
        if first == last:
            break
        split = int(generator.integers(first + 1, last + 1))
        rows, columns = (int(n) for n in generator.integers(1, 5, 2))
        made = make_patches(program, first, split, (rows, columns), features)
        steps += [made] if made is not None else program.steps[first:split]
        first = split
    return [*steps, *program.steps[first:last]]


def patched(nets: Sequence[Net], seeds: Sequence[int], features: Sequence[str]) -> Program:
    """Return the program of nets with patches."""
    program = program_of_nets(nets, features)
    steps: list[Step] = []
    first = 0
    for net, seed in zip(nets, seeds, strict=True):
        steps += cut(net, program, first, seed, features)
        first += len(net.nodes)
    return complete(program, steps)


def complete(program: Program, steps: Sequence[Step]) -> Program:
    """Return a program of other steps, with the tensors that are left, and kernels."""
    used = {name for step in steps for name in (*step.inputs, *outputs_of(step))}
    used |= {port.tensor for port in (*program.inputs, *program.outputs)}
    kept = tuple(tensor for tensor in program.tensors if tensor.name in used)
    return with_kernels(replace(program, tensors=kept, steps=tuple(steps)))


def check(
    outputs: Sequence[np.ndarray], expected: Sequence[Sequence[np.ndarray]], seeds: Sequence[int]
) -> None:
    given: Iterator[np.ndarray] = iter(outputs)
    for seed, values in zip(seeds, expected, strict=True):
        for number, value in enumerate(values):
            wrong = np.argwhere(next(given).reshape(value.shape) != value)
            assert not len(wrong), (
                f"net {seed}, output {number}: {len(wrong)} of {value.size}, first {wrong[0]}"
            )


STARTS = range(0, NETS, PER_PROGRAM)
BATCHES = [range(QUICK), *(range(first, first + PER_PROGRAM) for first in STARTS)]


@quick_first("seeds", BATCHES, ids=[f"{seeds.start}-{seeds.stop}" for seeds in BATCHES])
def test_random_nets_give_the_same(seeds: range) -> None:
    nets = [random_net(seed) for seed in seeds]
    inputs = inputs_of(nets)
    program = patched(nets, seeds, FEATURES[seeds.start // PER_PROGRAM % 2])
    assert sum(isinstance(step, Patches) for step in program.steps) > len(seeds) // 2
    check(run_on_host(program, inputs), expected_outputs(nets, inputs), seeds)


@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_random_nets_on_cores(core: str) -> None:
    seeds = range(1000, 1000 + PER_PROGRAM)
    nets = [random_net(seed) for seed in seeds]
    inputs = inputs_of(nets)
    program = patched(nets, seeds, sorted(resolve(core, None, None).core.features))
    check(run_on_core(program, inputs, core), expected_outputs(nets, inputs), seeds)
