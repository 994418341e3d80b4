"""States lie one behind the other, aligned, apart; an inference ends where the loss begins."""

from __future__ import annotations

from itertools import pairwise

from tests.support.training import small_module, updates
from tvm_tiny.pipeline import Training, plan_training
from tvm_tiny.relay_passes.program import Layer


def test_states_do_not_overlap_and_fill_their_memory() -> None:
    module = small_module()
    planned = plan_training(module, Training(tuple(updates(module, 4))))
    plan = planned.states
    ranges = sorted(
        (plan.offsets[s.name], plan.offsets[s.name] + s.initial.nbytes) for s in plan.states
    )
    assert all(first % 4 == 0 for first, _ in ranges)
    assert all(a[1] <= b[0] < a[1] + 4 for a, b in pairwise(ranges))
    assert ranges[0][0] == 0
    assert ranges[-1][1] <= plan.state_bytes < ranges[-1][1] + 4


def test_states_take_nothing_of_the_arena() -> None:
    module = small_module()
    program = plan_training(module, Training(tuple(updates(module, 4)))).program
    names = {state.name for state in program.states}
    assert len(names) == 8
    assert all(program.tensor(name).arena_bytes == 0 for name in names)


def test_the_step_behind_an_inference_is_the_loss() -> None:
    module = small_module()
    planned = plan_training(module, Training(tuple(updates(module, 2))))
    step = planned.program.steps[planned.states.forward_steps]
    assert isinstance(step, Layer)
    assert step.operator == "softmax_cross_entropy"
