from __future__ import annotations

from tests.relay_passes.test_schedule_stages import bottlenecks
from tests.support.random_nets import program_of_nets, with_kernels
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.fit_memory import fit_memory
from tvm_tiny.relay_passes.memory_steps import memory_steps
from tvm_tiny.relay_passes.order_operators import order_operators
from tvm_tiny.relay_passes.plan_arena import plan_arena


def test_each_pass_saves_and_the_last_is_what_is_planned() -> None:
    program = with_kernels(program_of_nets([bottlenecks().net()]))
    ordered = order_operators(program)
    fitted, plan = fit_memory(ordered, Limits(arena_bytes=plan_arena(ordered).arena_bytes // 2))
    steps = memory_steps(program, ordered, fitted)
    sizes = [step.bytes_needed for step in steps]
    assert [step.name for step in steps] == ["as listed", "in order", "in place", "in parts"]
    assert sizes == sorted(sizes, reverse=True)
    # an expansion with its input and output apart, over each other, and never whole
    assert sizes[0] >= 16 * 16 * (32 + 32) > sizes[2] >= 16 * 16 * 32 > sizes[3]
    assert sizes[3] == plan.lower_bound_bytes
