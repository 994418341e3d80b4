"""Layers by name, each with a variant of one's choice, measured all together on the emulator."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.calls import side_by_side
from tests.support.layers import Layer
from tvm_tiny.codegen.generate import generate
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import Compiled
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import program_of
from tvm_tiny.result import LayerResult
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.targets.target import Target

TIMEOUT_S = 600


@dataclass(frozen=True)
class Measured:
    """A layer's call, the kernel it took, and what that needed."""

    name: str
    call: Any
    candidate: Candidate
    result: LayerResult


def able(name: str, features: Collection[str]) -> dict[str, tuple[Any, Candidate]]:
    """Return the call of a layer and the candidate of each variant that can do it."""
    call = Layer.parse(name).call()
    found = candidates(call, features)
    return {c.variant: (call, c) for c in found if c.kernel is not None}


def measure(
    jobs: Sequence[tuple[str, Any, Candidate]], target: Target
) -> tuple[list[Measured], Firmware]:
    """Run calls with the kernels of these candidates, one after the other in one firmware."""
    firmware = link([(call, candidate) for _, call, candidate in jobs], target)
    layers = firmware.run(timeout_s=TIMEOUT_S).layers
    rows = [Measured(*job, result) for job, result in zip(jobs, layers, strict=True)]
    return rows, firmware


def link(jobs: Sequence[tuple[Any, Candidate]], target: Target) -> Firmware:
    """Build firmware of calls side by side, each with the kernel of its candidate."""
    module, _ = side_by_side([call for call, _ in jobs])
    program = program_of(module, target.core.features)
    program = program.with_kernels([candidate for _, candidate in jobs])
    plan = plan_arena(program)
    compiled = Compiled(module, program, plan, generate(program, plan, "layers"))
    return Firmware.link(compiled.code.files, describe(compiled, target), target)
