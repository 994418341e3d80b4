"""Where states lie in the memory that outlives runs, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_tiny.relay_passes.program import Program
from tvm_tiny.relay_passes.separate_trainables import LOSSES, State

STATE_ALIGNMENT = 4
LOSS_OPERATORS = frozenset(LOSSES)


@dataclass(frozen=True)
class StatePlan:
    """Byte offset of each state by name, and the bytes of all.

    The first `forward_steps` steps of the program are an inference; the next one gives the loss.
    """

    states: tuple[State, ...]
    offsets: dict[str, int]
    state_bytes: int
    forward_steps: int


def plan_states(program: Program, states: Sequence[State]) -> StatePlan:
    """Widest elements first, so that little is lost to alignment."""
    offsets: dict[str, int] = {}
    end = 0
    for state in sorted(states, key=lambda s: -s.initial.itemsize):
        offsets[state.name] = end
        end += -(-state.initial.nbytes // STATE_ALIGNMENT) * STATE_ALIGNMENT
    operators = [getattr(step, "operator", "") for step in program.steps]
    forward = next(n for n, name in enumerate(operators) if name in LOSS_OPERATORS)
    return StatePlan(tuple(states), offsets, end, forward)
