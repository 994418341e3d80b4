"""What the files of a model that trains say of its states and of a step."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_tiny.codegen.c_printer import c_type
from tvm_tiny.codegen.identifiers import c_comment
from tvm_tiny.relay_passes.plan_states import StatePlan
from tvm_tiny.relay_passes.program import Program
from tvm_tiny.relay_passes.separate_trainables import State


@dataclass(frozen=True)
class StateText:
    """A state: its place, and the constant that it begins with (none: zeros)."""

    label: str
    assignment: str
    description: str
    initial: str
    nbytes: int


@dataclass(frozen=True)
class TrainingText:
    """A step: where in the arena its target, its rate and its loss are, and how C calls them."""

    states: tuple[StateText, ...]
    state_bytes: int
    identity: str  # of images of weights
    loss: str
    rate: str
    target: str
    target_type: str
    target_elements: int
    target_bytes: int
    parameter: str


def training_text(
    plan: StatePlan,
    program: Program,
    name: str,
    labels: Mapping[str, str],
    initial: Mapping[str, str],
) -> TrainingText:
    """Texts for a model's templates; `labels` are of tensors, `initial` the constants of states."""
    width = max(len(f"{labels[s.name]} = {plan.offsets[s.name]},") for s in plan.states)
    states = tuple(
        StateText(
            labels[state.name],
            f"{labels[state.name]} = {plan.offsets[state.name]},".ljust(width),
            c_comment(f"{state.name}, {_shape(state)}"),
            initial.get(state.name, ""),
            state.initial.nbytes,
        )
        for state in plan.states
    )
    target = program.inputs[-2].tensor
    spec = program.tensor(target).spec
    by_value = spec.elements == 1
    return TrainingText(
        states,
        plan.state_bytes,
        f"0x{_identity(plan):08x}u",
        labels[program.outputs[0].tensor],
        labels[program.inputs[-1].tensor],
        labels[target],
        c_type(spec.dtype),
        spec.elements,
        spec.nbytes,
        f"{name}_target target" if by_value else f"const {name}_target *target",
    )


def _identity(plan: StatePlan) -> int:
    """Images of weights are for one model: what it trains, and what that begins with."""
    identity = 0
    for state in plan.states:
        identity = zlib.crc32(f"{state.name} {_shape(state)}".encode(), identity)
        identity = zlib.crc32(state.initial.tobytes(), identity)
    return identity


def _shape(state: State) -> str:
    return "x".join(map(str, state.spec.shape)) + f" {state.spec.dtype}"
