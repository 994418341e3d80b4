"""500 random operators on each class of core: firmware equals meaning, bit for bit.

Many operators side by side make one module, so that one firmware tests them all. The operators are
the same on all cores; a failure names the one that fails, and `check` of its seed alone repeats it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import inferred, samples_of
from tests.support.calls import side_by_side
from tests.support.random_operators import operator
from tvm_tiny.build_firmware import build
from tvm_tiny.errors import TinyError
from tvm_tiny.schedules.dialect import arguments_of, attributes_of, run_meaning

OPERATORS, PER_FIRMWARE = 500, 50
# cores of one class take turns
CLASSES = {
    "portable": ("cortex-m3",),
    "dsp": ("cortex-m4", "cortex-m7", "cortex-m33"),
    "helium": ("cortex-m55",),
}
BATCHES = [
    (core, first)
    for cores in CLASSES.values()
    for core, first in zip(itertools.cycle(cores), range(0, OPERATORS, PER_FIRMWARE), strict=False)
]
# This core faults where others read words that are not aligned. Its board has little memory.
SMALL_CORE, SMALL_FIRMWARES, SMALL_BYTES = "cortex-m0", 6, 9000


def check(core: str, seeds: Sequence[int]) -> None:
    """Assert that one firmware of all operators computes their meanings."""
    calls = [operator(seed) for seed in seeds]
    module, specs = side_by_side(calls)
    samples = [samples_of(row, seed) for seed, row in zip(seeds, specs, strict=True)]
    stacked = [np.concatenate(port) for row in samples for port in zip(*row, strict=True)]
    outputs = build(module, core, name="many").run(stacked).outputs
    for seed, call, row, output in zip(seeds, calls, samples, outputs, strict=True):
        expected = np.stack([run_meaning(call, sample) for sample in row])
        wrong = np.argwhere(output.reshape(expected.shape) != expected)
        assert not len(wrong), (
            f"{len(wrong)} of {expected.size} elements of {title(core, seed, call)}; "
            f"the first at (sample, index) {wrong[0].tolist()}"
        )


def title(core: str, seed: int, call: Any) -> str:
    """Return what an operator is, and how to run it alone."""
    shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arguments_of(call))
    return f"check({core!r}, [{seed}]): {call.op.name}({shapes}) {attributes_of(call)}"


def check_each(core: str, seeds: Sequence[int]) -> None:
    """`check`, with the name of the operator that ends the firmware or refuses to compile."""
    try:
        check(core, seeds)
    except TinyError:
        for seed in seeds:
            try:
                check(core, [seed])
            except TinyError as error:
                error.add_note(title(core, seed, operator(seed)))
                raise
        raise


@pytest.mark.qemu
@pytest.mark.parametrize(("core", "first"), BATCHES)
def test_firmware_equals_meaning(core: str, first: int) -> None:
    check_each(core, range(first, first + PER_FIRMWARE))


def small_batches() -> Iterator[list[int]]:
    """Return seeds of operators that fit the small core's board together."""
    batch: list[int] = []
    used = 0
    for seed in range(OPERATORS):
        call = operator(seed)
        specs = [*arguments_of(call), inferred(call)]
        size = sum(int(np.prod(spec.shape)) for spec in specs if not isinstance(spec, np.ndarray))
        if size > SMALL_BYTES // 4:
            continue
        if used + size > SMALL_BYTES:
            yield batch
            batch, used = [], 0
        batch.append(seed)
        used += size


@pytest.mark.qemu
@pytest.mark.parametrize("batch", list(itertools.islice(small_batches(), SMALL_FIRMWARES)))
def test_firmware_of_a_small_core_equals_meaning(batch: list[int]) -> None:
    check_each(SMALL_CORE, batch)
