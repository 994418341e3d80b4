"""The whole compilation, top to bottom.

    load -> graph passes -> program -> order, kernels, stages, arena plan -> C sources -> ELF

Every step is a pure function of the one before; `build` in build_firmware.py runs them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import tvm

from tvm_tiny.codegen.generate import GeneratedCode, generate
from tvm_tiny.errors import DoesNotFitError
from tvm_tiny.quick_script import quick_script
from tvm_tiny.relay_passes.append_updates import AppendUpdates
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.crop_zero_taps import CropZeroTaps
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients
from tvm_tiny.relay_passes.drop_dead_channels import DropDeadChannels
from tvm_tiny.relay_passes.fit_memory import BY_NEED, NO_LIMITS, Staging, fit_memory
from tvm_tiny.relay_passes.fit_regions import fit_regions
from tvm_tiny.relay_passes.float_to_tiny import FloatToTiny, is_float
from tvm_tiny.relay_passes.fold_constant_channels import FoldConstantChannels
from tvm_tiny.relay_passes.fold_lookups import FoldLookups
from tvm_tiny.relay_passes.fold_pads import FoldPads
from tvm_tiny.relay_passes.frozen_part import frozen_part, with_frozen_part
from tvm_tiny.relay_passes.fuse_gradients import FuseGradients
from tvm_tiny.relay_passes.live_bytes import live_bytes
from tvm_tiny.relay_passes.memory_steps import MemoryStep, memory_steps
from tvm_tiny.relay_passes.merge_equal_channels import MergeEqualChannels
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.relay_passes.order_operators import order_operators
from tvm_tiny.relay_passes.order_updates import OrderUpdates
from tvm_tiny.relay_passes.plan_arena import ArenaPlan
from tvm_tiny.relay_passes.plan_states import StatePlan, plan_states
from tvm_tiny.relay_passes.program import Program, program_of
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.relay_passes.separate_trainables import (
    LOSSES,
    LayerUpdate,
    SeparateTrainables,
    State,
)
from tvm_tiny.relay_passes.sink_transposes import SinkTransposes
from tvm_tiny.schedules.candidates import Features

# In order; each pass stands here once, and none calls another.
TO_INTEGERS = (
    QuantizedToTiny(),  # float islands between dequantize and quantize become integer operators
    SinkTransposes(),  # NCHW models run in NHWC: layout changes move to the ends and cancel
    FoldPads(),  # borders of the zero point become the padding of convolutions
    FoldLookups(),  # tables compose; clamps move into the operators before them
)
# What of them a float model needs, to be trained as it is.
TO_FLOATS = (FloatToTiny(), SinkTransposes())
SHARED_CODE_BYTES = 4 << 10  # of gradients, as measured
# What follows from the values of weights, if they stay as they are.
BY_WEIGHTS = (
    MergeEqualChannels(),  # of equal channels each reader needs one
    DropDeadChannels(),  # channels that no result needs leave the graph
    CropZeroTaps(),  # windows lose their borders of zeros
    FoldConstantChannels(),  # those that have to stay keep only a bias
)
GRAPH_PASSES = (*TO_INTEGERS, *BY_WEIGHTS)


@dataclass(frozen=True)
class Compiled:
    """Everything between a model and its firmware, for reports and tests."""

    module: tvm.IRModule
    program: Program
    plan: ArenaPlan
    code: GeneratedCode
    memory_steps: tuple[MemoryStep, ...] = ()
    states: StatePlan | None = None


@dataclass(frozen=True)
class TrainingPasses:
    """What is optimised in a step of training; each can be left out, to see what it gives.

    `own_kernels`: layers ahead of all trained ones take any kernel, and what follows from the
    values of their weights is used. `mask_bits`: bits say what was clamped, not 16-bit values that
    are kept until a gradient needs them. `fused_masks`: masks and scales of a gradient are one
    loop. `early_updates`: an update follows its gradient, not all gradients. `fused_updates`:
    gradients of weights change them in the loop that computes them.
    """

    own_kernels: bool = True
    mask_bits: bool = True
    fused_masks: bool = True
    early_updates: bool = True
    fused_updates: bool = True


ALL_PASSES = TrainingPasses()


@dataclass(frozen=True)
class Training:
    """What of a model is trained, and how."""

    updates: tuple[LayerUpdate, ...]
    loss: str = LOSSES[0]
    optimizer: Optimizer = field(default_factory=Optimizer)
    passes: TrainingPasses = field(default_factory=lambda: ALL_PASSES)


def rewrite(module: tvm.IRModule) -> tvm.IRModule:
    """Run all graph passes."""
    for graph_pass in GRAPH_PASSES:
        module = graph_pass(module)
    return module


@dataclass(frozen=True)
class PlannedTraining:
    """A step of training and its memory: the program as derived, and as it will run."""

    derived: Derived
    listed: Program
    program: Program
    plan: ArenaPlan
    states: StatePlan

    @property
    def steps(self) -> tuple[MemoryStep, ...]:
        """What the planner's passes save."""
        return memory_steps(self.listed, self.listed, self.program)[2:]


def rewrite_for_training(module: tvm.IRModule) -> tvm.IRModule:
    """Run the graph passes that do not look at weights; layers keep their names."""
    for graph_pass in TO_FLOATS if is_float(module) else TO_INTEGERS:
        module = graph_pass(module)
    return module


@dataclass(frozen=True)
class Derived:
    """A step of training: inference, loss, gradients and updates; what each pass saved."""

    module: tvm.IRModule
    states: tuple[State, ...]
    saved: tuple[MemoryStep, ...]


def derive_training(module: tvm.IRModule, training: Training) -> Derived:
    """A rewritten module's step of training."""
    passes = training.passes
    separate = SeparateTrainables(training.updates, training.loss, passes.own_kernels)
    separated = separate(module)
    frozen = frozen_part(separated) if passes.own_kernels else None
    if frozen is not None:
        for graph_pass in BY_WEIGHTS:
            frozen = graph_pass(frozen)
        separated = with_frozen_part(separated, frozen)
    # backwards from the loss, only what leads to a state; gradients become new values
    append = AppendUpdates(separate.states, training.optimizer)
    appended = append(DeriveGradients()(separated))
    # masks, scales, gradients and updates in one loop each; then all at once, so that inputs die
    fused = FuseGradients(passes.fused_masks, passes.fused_updates)(appended)
    ordered = OrderUpdates(passes.mask_bits, passes.early_updates)(fused)
    stages = {"gradients kept": appended, "fused": fused, "updated at once": ordered}
    saved = tuple(MemoryStep(name, live_bytes(stage)) for name, stage in stages.items())
    return Derived(ordered, append.states, saved)


@quick_script()
def plan_training(
    module: tvm.IRModule,
    training: Training,
    features: Features = (),
    limits: Limits = NO_LIMITS,
    staging: Staging = BY_NEED,
) -> PlannedTraining:
    """A rewritten module's training, planned: all that its memory depends on, without code.

    Arena and kernels have what the states leave of the limits.
    """
    derived = derive_training(module, training)
    listed = program_of(derived.module, features)
    held = plan_states(listed, derived.states).state_bytes
    limits = _without_states(limits, held)
    try:
        program, plan = fit_memory(listed, limits, features, staging)
    except DoesNotFitError as error:
        needed = int(str(error.found)) + held  # what is trained counts too
        raise DoesNotFitError(
            error.what, where=error.where, limit=error.limit, found=needed, hint=error.hint
        ) from error
    states = plan_states(program, derived.states)
    return PlannedTraining(derived, listed, program, plan, states)


def _without_states(limits: Limits, state_bytes: int) -> Limits:
    """What states leave: they lie in the SRAM, and their first values in the Flash.

    There is also code that gradients share, which no single kernel counts.
    """

    def left(limit: int | None, taken: int) -> int | None:
        return None if limit is None else max(limit - taken, 0)

    return replace(
        limits,
        arena_bytes=left(limits.arena_bytes, state_bytes),
        flash_bytes=left(limits.flash_bytes, state_bytes + SHARED_CODE_BYTES),
    )


@quick_script()
def compile_training(
    module: tvm.IRModule,
    name: str,
    training: Training,
    features: Features = (),
    limits: Limits = NO_LIMITS,
    staging: Staging = BY_NEED,
) -> Compiled:
    """Compile a rewritten module and its training to C sources whose symbols start with `name`."""
    planned = plan_training(module, training, features, limits, staging)
    program, plan, states = planned.program, planned.plan, planned.states
    code = generate(program, plan, name, states)
    saved = (*planned.derived.saved, *planned.steps)
    return Compiled(planned.derived.module, program, plan, code, saved, states)


@quick_script()
def compile_module(
    module: tvm.IRModule,
    name: str,
    features: Features = (),
    limits: Limits = NO_LIMITS,
    staging: Staging = BY_NEED,
) -> Compiled:
    """Compile an imported module to C sources whose symbols start with `name`.

    `features` are those of the core that kernels may use; the C also runs without them. Kernels
    are chosen for the goal and the memories of `limits`, and layers run in stages where that is
    needed for them. Raises UnsupportedError listing every operator that has no integer form, and
    DoesNotFitError.
    """
    rewritten = rewrite(module)
    listed = program_of(rewritten, features)
    ordered = order_operators(listed)
    program, plan = fit_regions(ordered, limits, features, staging)
    code, saved = generate(program, plan, name), memory_steps(listed, ordered, program)
    return Compiled(rewritten, program, plan, code, saved)
