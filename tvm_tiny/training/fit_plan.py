"""Plans for a target's SRAM: what a plan needs with whole tensors, and the longest that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_tiny import _register, importers
from tvm_tiny.errors import DoesNotFitError
from tvm_tiny.pipeline import Training, plan_training, rewrite_for_training
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.optimizer import Optimizer
from tvm_tiny.targets.linker import largest_arena
from tvm_tiny.targets.target import Target
from tvm_tiny.training.layers import trainable_layers
from tvm_tiny.training.update_plan import SparseUpdate


def reserved_bytes(target: Target) -> int:
    """What stacks and start-up take of the SRAM."""
    return target.sram_bytes - largest_arena(target)


def whole_memory(
    model: Any, target: Target, optimizer: Optimizer | str = "sgd_qas"
) -> Callable[[SparseUpdate], int]:
    """The bytes of SRAM that a plan needs, with the reserved ones; the model is read once.

    They are those of `build_training` where it keeps tensors whole, as it does in any SRAM that
    has room for that; where it has not, layers may run by rows, and need less.
    """
    _register.register()
    module = rewrite_for_training(importers.load(model))
    limits = Limits("speed", target.flash_bytes)
    how = Optimizer.parse(optimizer) if isinstance(optimizer, str) else optimizer

    def memory(plan: SparseUpdate) -> int:
        training = Training(plan.resolve(module), optimizer=how)
        planned = plan_training(module, training, target.core.features, limits)
        tensors = planned.plan.arena_bytes + planned.states.state_bytes
        return int(tensors + reserved_bytes(target))

    return memory


def most_last_layers(
    model: Any, target: Target, optimizer: Optimizer | str = "sgd_qas"
) -> SparseUpdate:
    """The plan that trains the most last layers for which the SRAM has room.

    Raises DoesNotFitError where not even the classifier's training has.
    """
    memory = whole_memory(model, target, optimizer)
    needed = memory(SparseUpdate())
    if needed > target.sram_bytes:
        raise DoesNotFitError(
            "training the classifier alone needs more SRAM than there is",
            limit=target.sram_bytes,
            found=needed,
        )
    fits = 0
    too_many = len(trainable_layers(rewrite_for_training(importers.load(model))))
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if memory(SparseUpdate.last(middle)) <= target.sram_bytes:
            fits = middle
        else:
            too_many = middle
    return SparseUpdate.last(fits)
