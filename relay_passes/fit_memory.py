"""Kernels, stages and the arena's plan together: the fastest that the SRAM has room for.

Where the fastest kernels' arena is too large, layers become stages (schedule_stages.py) and kernels
with less scratch are taken, whichever costs the fewest instructions. The search knows what each
step needs; where the plan of all steps needs more, it is asked again for as much less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm_tiny.errors import DoesNotFitError, TargetError, UnsupportedError
from tvm_tiny.relay_passes.choose_exactly import choose_exactly, total_cost
from tvm_tiny.relay_passes.choose_kernels import (
    Limits,
    choose_kernels,
    flash_limit,
    with_less_scratch,
)
from tvm_tiny.relay_passes.integer_ports import integer_ports
from tvm_tiny.relay_passes.patches import with_patches
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, plan_arena
from tvm_tiny.relay_passes.program import ALIGNMENT, Layer, Program, Step
from tvm_tiny.relay_passes.schedule_stages import StageSearch
from tvm_tiny.relay_passes.stages import streamable_inputs
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Features

AUTO, OFF = "auto", "off"
CONVOLUTIONS, FOLLOWING = ("qconv2d", "qdepthwise_conv2d"), ("qadd", "qmul")
Chooser = Callable[[Program, Limits], Program]
STEPS = 40  # that limits for the search take towards zero, where plans do not reach them


@dataclass(frozen=True)
class Staging:
    """How tensors may be kept in parts, beside what is live at a time anyway.

    `patch` is "auto" (stages where nothing else fits), "off", or (rows, columns, split): so many
    patches of what the first `split` convolutions make, depthwise ones counted too. With
    `input_rows` the model's input arrives row by row, by call-back. With `integer_io` float ports
    become int8 ones.
    """

    patch: str | tuple[int, int, int] = AUTO
    input_rows: bool = False
    integer_io: bool = False

    def __post_init__(self) -> None:
        """Refuse what is neither."""
        if isinstance(self.patch, str) and self.patch not in (AUTO, OFF):
            raise TargetError(
                f"unknown value {self.patch!r}; known are auto, off, ROWSxCOLUMNS@SPLIT",
                where="patch",
            )
        if not isinstance(self.patch, str) and self.input_rows:
            raise TargetError(
                "patches of a given grid need the input whole in memory",
                where="patch",
                hint="leave one of the two out; patch='auto' takes the input row by row",
            )


NO_LIMITS, BY_NEED = Limits(), Staging()


def fit_memory(
    program: Program,
    limits: Limits = NO_LIMITS,
    features: Features = (),
    staging: Staging = BY_NEED,
) -> tuple[Program, ArenaPlan]:
    """Choose kernels and stages for the memories of `limits`, and plan the arena.

    Without stages the plan may exceed the limit, if none of less is found. Raises DoesNotFitError
    where stages are allowed and nothing fits, and UnsupportedError for inputs not made of rows.
    """
    program, called_back = prepared(program, staging)
    if not isinstance(staging.patch, str):
        rows, columns, split = staging.patch
        last = behind_convolutions(program, split)
        program = with_patches(program, (rows, columns), last, features)
        program = with_fastest_kernels(program)
    search = StageSearch(program, features, called_back)
    found = _fitted(search, limits, staging, choose_kernels)
    if not limits.is_exact:
        return found
    exact = _fitted(search, limits, staging, choose_exactly)
    # the two may have become other stages, between which nothing is proven
    return min([exact, found], key=lambda each: _badness(each, limits))


def _fitted(
    search: StageSearch, limits: Limits, staging: Staging, choose: Chooser
) -> tuple[Program, ArenaPlan]:
    """Kernels, stages and a plan, by one of the ways to choose kernels."""
    if not search.called_back:
        chosen = choose(search.program, replace(limits, arena_bytes=None))
        plan = plan_arena(chosen)
        if limits.arena_bytes is None or plan.arena_bytes <= limits.arena_bytes:
            return chosen, plan
        if staging.patch != AUTO:
            chosen = choose(search.program, limits)
            return _with_less_scratch(chosen, plan_arena(chosen), limits, limits.arena_bytes)
    return _staged(search, limits, choose)


def _badness(found: tuple[Program, ArenaPlan], limits: Limits) -> tuple[bool, bool, int]:
    """Whether limits are exceeded, and then the cost."""
    program, plan = found
    flash = costs.flash_bytes(layer.chosen.pieces for layer in program.layers)
    limit = flash_limit(program, limits)
    return (
        limits.arena_bytes is not None and plan.arena_bytes > limits.arena_bytes,
        limit is not None and flash > limit,
        total_cost(program),
    )


def prepared(program: Program, staging: Staging) -> tuple[Program, frozenset[str]]:
    """The program with the ports that it is to have, and its inputs by call-back."""
    program = integer_ports(program) if staging.integer_io else program
    called_back = streamable_inputs(program) if staging.input_rows else frozenset()
    if staging.input_rows and not called_back:
        raise UnsupportedError(
            "no input can arrive row by row",
            where=", ".join(port.name for port in program.inputs),
            hint="inputs must be images of whole words a row (batch 1, NHWC), read by layers that "
            "work on rows",
        )
    return program, called_back


def behind_convolutions(program: Program, count: int) -> int:
    """The step behind the first `count` convolutions, and additions and products that follow."""
    numbers = [n for n, step in enumerate(program.steps) if _operator(step) in CONVOLUTIONS]
    if not 1 <= count <= len(numbers):
        raise UnsupportedError(
            "patches are to end behind a convolution that the model does not have",
            where="patch",
            limit=f"1 to {len(numbers)}",
            found=count,
        )
    last = numbers[count - 1] + 1
    while last < len(program.steps) and _operator(program.steps[last]) in FOLLOWING:
        last += 1
    return last


def _operator(step: Step) -> str:
    return step.operator if isinstance(step, Layer) else ""


def with_fastest_kernels(program: Program) -> Program:
    """The program with the first candidate of each layer that is able."""
    able = [next(c for c in layer.candidates if c.kernel) for layer in program.layers]
    return program.with_kernels(able)


def _with_less_scratch(
    program: Program, plan: ArenaPlan, limits: Limits, arena_bytes: int
) -> tuple[Program, ArenaPlan]:
    """Kernels with less and less scratch until the arena fits or none has less."""
    while plan.arena_bytes > arena_bytes:
        smaller = with_less_scratch(program, arena_bytes)
        if smaller is None:
            break
        program = choose_kernels(smaller, limits)
        plan = plan_arena(program)
    return program, plan


def _staged(search: StageSearch, limits: Limits, choose: Chooser) -> tuple[Program, ArenaPlan]:
    arena_bytes = search.enough if limits.arena_bytes is None else limits.arena_bytes
    limit = arena_bytes
    while (found := search.within(limit)) is not None:
        chosen = choose(found.program, replace(limits, arena_bytes=arena_bytes))
        plan = plan_arena(chosen)
        if plan.arena_bytes <= arena_bytes:
            return chosen, plan
        limit -= max(plan.arena_bytes - arena_bytes, limit // STEPS, ALIGNMENT)
    smallest = search.smallest()
    raise DoesNotFitError(
        "the tensors need more SRAM than there is, even row by row",
        where=search.largest_layer,
        limit=arena_bytes,
        found=smallest.peak_bytes,
        hint="a smaller input, a target with more SRAM, or the input row by row",
    )
