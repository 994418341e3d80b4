"""Plans for an SRAM: the predicted bytes are those of the build, the longest plan is found."""

from __future__ import annotations

import pytest

from tests.training.nets import SMALL
from tvm_tiny import zoo
from tvm_tiny.errors import DoesNotFitError
from tvm_tiny.targets.linker import largest_arena
from tvm_tiny.targets.target import LIMIT_GRANULE, Target, resolve
from tvm_tiny.training.build import compile_for
from tvm_tiny.training.fit_plan import most_last_layers, reserved_bytes, whole_memory
from tvm_tiny.training.update_plan import SparseUpdate

pytestmark = pytest.mark.slow

PLANS = [SparseUpdate(), SparseUpdate.bias_only(3), SparseUpdate.last(2), SparseUpdate.full()]


def target(sram: int | None = None) -> Target:
    return resolve("mps2-an386", sram, None)


def rounded(size: int) -> int:
    """Up to a multiple of what limits count in."""
    return -(-size // LIMIT_GRANULE) * LIMIT_GRANULE


@pytest.fixture(scope="module")
def needed() -> dict[SparseUpdate, int]:
    """What plans of the small net need."""
    memory = whole_memory(zoo.int8_module(SMALL), target())
    return {plan: memory(plan) for plan in (*PLANS, *map(SparseUpdate.last, range(8)))}


@pytest.mark.parametrize("plan", PLANS)
def test_predictions_are_what_is_built(plan: SparseUpdate, needed: dict[SparseUpdate, int]) -> None:
    """With no more SRAM than predicted."""
    limit = rounded(needed[plan])
    compiled = compile_for(zoo.int8_module(SMALL), target(limit), plan)
    assert compiled.states is not None
    built = compiled.plan.arena_bytes + compiled.states.state_bytes
    assert needed[plan] == built + reserved_bytes(target(limit))


def test_what_is_reserved_is_not_for_tensors() -> None:
    assert reserved_bytes(target()) == target().sram_bytes - largest_arena(target()) > 0


@pytest.mark.parametrize("count", [0, 3, 7])
def test_the_longest_plan_is_found(count: int, needed: dict[SparseUpdate, int]) -> None:
    limit = rounded(needed[SparseUpdate.last(count)])
    found = most_last_layers(zoo.int8_module(SMALL), target(limit))
    fitting = [k for k in range(8) if needed[SparseUpdate.last(k)] <= limit]
    assert found == SparseUpdate.last(max(fitting))


def test_sram_that_not_even_the_classifier_fits_is_refused(
    needed: dict[SparseUpdate, int],
) -> None:
    with pytest.raises(DoesNotFitError, match="classifier alone"):
        most_last_layers(zoo.int8_module(SMALL), target(rounded(needed[SparseUpdate()]) - 32))
