"""Kernels, stages and plan for two memories, where the target has a fast one beside its SRAM."""

from __future__ import annotations

from dataclasses import replace

from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.fit_memory import BY_NEED, NO_LIMITS, Staging, fit_memory
from tvm_tiny.relay_passes.plan_arena import ArenaPlan
from tvm_tiny.relay_passes.plan_regions import plan_regions
from tvm_tiny.relay_passes.program import Program
from tvm_tiny.schedules.candidates import Features

SHARES = (1.0, 0.5, 0.0)  # of the fast memory, that add to the other while kernels are chosen


def fit_regions(
    program: Program,
    limits: Limits = NO_LIMITS,
    features: Features = (),
    staging: Staging = BY_NEED,
) -> tuple[Program, ArenaPlan]:
    """Choose kernels and stages and plan both memories; one memory is as `fit_memory` has it.

    Kernels and stages are chosen as if the memories were one. Where their tensors can't be
    divided so that both limits hold, they are chosen again for less. Raises what `fit_memory`
    raises.
    """
    fitted, plan = fit_memory(program, _with(limits, SHARES[0]), features, staging)
    if not limits.fast_bytes:
        return fitted, plan
    for share in (*SHARES[1:], None):
        plan = plan_regions(fitted, limits.fast_bytes, limits.arena_bytes)
        is_enough = limits.arena_bytes is None or plan.arena_bytes <= limits.arena_bytes
        if is_enough or share is None:
            break
        fitted, _ = fit_memory(program, _with(limits, share), features, staging)
    return fitted, plan


def _with(limits: Limits, share: float) -> Limits:
    """The limits with a share of the fast memory in the arena."""
    if limits.arena_bytes is None:
        return limits
    return replace(limits, arena_bytes=limits.arena_bytes + int(limits.fast_bytes * share))
