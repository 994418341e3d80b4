"""`build_training`: a model, a target and an update plan to firmware that trains itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm

from tvm_tiny import _register, importers
from tvm_tiny.build_firmware import counting_stacks, default_name
from tvm_tiny.codegen.identifiers import identifier
from tvm_tiny.errors import TargetError
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import (
    ALL_PASSES,
    Compiled,
    Training,
    TrainingPasses,
    compile_training,
    plan_training,
    rewrite_for_training,
)
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.relay_passes.separate_trainables import LOSSES
from tvm_tiny.targets.board import cores
from tvm_tiny.targets.linker import largest_arena
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.training.firmware import TrainingFirmware
from tvm_tiny.training.update_plan import SparseUpdate


def build_training(
    model: Any,
    target: str | Target,
    *,
    update: SparseUpdate | str = "full",
    loss: str = LOSSES[0],
    optimizer: Optimizer | str = "sgd_qas",
    name: str | None = None,
    sram: int | None = None,
    flash: int | None = None,
    optimize: str = "speed",
    passes: TrainingPasses = ALL_PASSES,
) -> TrainingFirmware:
    """Derive a model's training step, compile it for `target` and link it.

    `model` is anything `load` takes, quantised to int8, or float from end to end. `update` says
    what is trained: a SparseUpdate, or a word that it parses. `loss` is "softmax_cross_entropy" (of
    the values before a softmax at the model's end, against a class) or "mean_squared_error".
    `optimizer` is an Optimizer or the name of one: "sgd_qas", gradient descent with
    quantisation-aware scaling, "sgd" without, "momentum", "sgd_momentum_unscaled", or for float
    models "adam". Float models know no scaling. The learning rate is an argument of each step.
    `passes` can leave optimisations out.

    Raises ModelError, UnsupportedError, PlanError, TargetError, DoesNotFitError, MissingToolError.
    """
    _register.register()
    chosen = target if isinstance(target, Target) else resolve(target, sram, flash)
    symbol = identifier(name or default_name(model))
    with counting_stacks(chosen):
        compiled = compile_for(model, chosen, update, loss, optimizer, symbol, optimize, passes)
    firmware = Firmware.link(compiled.code.files, describe(compiled, chosen), chosen)
    assert compiled.states is not None
    return TrainingFirmware(firmware, compiled.states)


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of RAM that a step of training needs, without the stack.

    `saved` is the least arena as each pass leaves it, from gradients kept to the end on.
    """

    arena_bytes: int
    trainable_bytes: int
    saved: dict[str, int]

    @property
    def sram_bytes(self) -> int:
        """Arena and trained weights."""
        return self.arena_bytes + self.trainable_bytes


def predict_memory(
    model: Any,
    target: str | Target,
    *,
    update: SparseUpdate | str = "full",
    loss: str = LOSSES[0],
    optimizer: Optimizer | str = "sgd_qas",
    sram: int | None = None,
    flash: int | None = None,
    optimize: str = "speed",
    passes: TrainingPasses = ALL_PASSES,
) -> TrainingMemory:
    """What `build_training` would need for the same arguments, to the byte; nothing is compiled.

    Raises what `build_training` raises, but for the compiler's errors.
    """
    _register.register()
    chosen = target if isinstance(target, Target) else resolve(target, sram, flash)
    module, training = _training(model, chosen, update, loss, optimizer, passes)
    with counting_stacks(chosen):
        planned = plan_training(module, training, chosen.core.features, _limits(chosen, optimize))
    saved = (*planned.derived.saved, *planned.steps)
    return TrainingMemory(
        planned.plan.arena_bytes,
        planned.states.state_bytes,
        {step.name: step.bytes_needed for step in saved},
    )


def compile_for(
    model: Any,
    target: Target,
    update: SparseUpdate | str,
    loss: str = LOSSES[0],
    optimizer: Optimizer | str = "sgd_qas",
    symbol: str = "model",
    optimize: str = "speed",
    passes: TrainingPasses = ALL_PASSES,
) -> Compiled:
    """The C sources of a training step; nothing is linked."""
    module, training = _training(model, target, update, loss, optimizer, passes)
    limits = _limits(target, optimize)
    return compile_training(module, symbol, training, target.core.features, limits)


def _limits(target: Target, optimize: str) -> Limits:
    return Limits(optimize, target.flash_bytes, largest_arena(target))


def _training(
    model: Any,
    target: Target,
    update: SparseUpdate | str,
    loss: str,
    optimizer: Optimizer | str,
    passes: TrainingPasses,
) -> tuple[tvm.IRModule, Training]:
    """The rewritten module, and what of it is trained."""
    how = Optimizer.parse(optimizer) if isinstance(optimizer, str) else optimizer
    if "fpu" not in target.core.features:
        raise TargetError(
            "training needs a core with a floating point unit",
            where=target.name,
            hint="those with one are " + ", ".join(n for n, c in cores().items() if c.has("fpu")),
        )
    plan = SparseUpdate.parse(update) if isinstance(update, str) else update
    module = rewrite_for_training(importers.load(model))
    return module, Training(plan.resolve(module), loss, how, passes)
