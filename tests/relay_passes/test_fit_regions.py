from __future__ import annotations

import pytest

from tests.support.random_nets import program_of_nets, random_net, with_kernels
from tvm_tiny.errors import DoesNotFitError
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.fit_memory import fit_memory
from tvm_tiny.relay_passes.fit_regions import fit_regions
from tvm_tiny.relay_passes.program import ALIGNMENT, Layer, Program, aligned


def program() -> Program:
    return with_kernels(program_of_nets([random_net(seed) for seed in range(2000, 2004)], ()))


def test_one_memory_is_as_without_regions() -> None:
    given = program()
    assert fit_regions(given)[1] == fit_memory(given)[1]
    limits = Limits(arena_bytes=1 << 20)
    assert fit_regions(given, limits)[1] == fit_memory(given, limits)[1]


def test_what_one_memory_has_no_room_for_takes_both() -> None:
    given = program()
    _, alone = fit_memory(given)
    limits = Limits(
        arena_bytes=alone.arena_bytes - 2 * ALIGNMENT, fast_bytes=aligned(alone.arena_bytes // 2)
    )
    fitted, plan = fit_regions(given, limits)
    assert limits.arena_bytes is not None
    assert plan.arena_bytes <= limits.arena_bytes and plan.fast_bytes <= limits.fast_bytes
    assert all(isinstance(step, Layer) for step in fitted.steps)


def test_what_neither_has_room_for_is_an_error() -> None:
    given = program()
    with pytest.raises(DoesNotFitError):
        fit_regions(given, Limits(arena_bytes=64, fast_bytes=64))
