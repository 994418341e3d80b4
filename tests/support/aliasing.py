"""Outputs over inputs as kernels declare it, and firmware in which they lie so.

Regions of the firmware's arena, each with the input and the output of a call, alternate with
canaries: inputs of the model that are outputs too, and should be what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import relax

from tests.support.calls import side_by_side
from tests.support.kernels import Over
from tvm_tiny.codegen.generate import generate
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import Compiled
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Layer, Program, program_of
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import Overlap, TensorSpec, spec_of
from tvm_tiny.targets.target import resolve

ALIGNMENT, SMALLEST_CANARY = 16, 16


def inputs_of(call: Any) -> list[TensorSpec]:
    """Return the call's run-time inputs."""
    return [spec_of(a) for a in call.args if isinstance(a, relax.Var)]


def shifts_of(overlap: Overlap, data: TensorSpec, output: TensorSpec) -> list[int]:
    """Return shifts to try: the largest, the largest that is aligned, and some before it."""
    if overlap.is_exact:
        return [overlap.shift]
    size = max(np.dtype(spec.dtype).itemsize for spec in (data, output))
    aligned = _down(overlap.shift)
    shifts = [overlap.shift // size * size, aligned, aligned - ALIGNMENT, aligned - 5 * ALIGNMENT]
    return [shift for shift in shifts if shift > -output.nbytes]


@dataclass(frozen=True)
class Placed:
    """A call, the kernel that it takes, and where its output lies."""

    call: Any
    output: TensorSpec
    candidate: Candidate
    over: Over


def placed(call: Any, output: TensorSpec, features: Collection[str]) -> list[Placed]:
    """Return a call with all its kernels on a core, outputs as far behind as arenas allow."""
    found = []
    for candidate in candidates(call, features):
        overlaps = () if candidate.kernel is None else candidate.kernel.overlaps
        for number, overlap in enumerate(overlaps):
            if overlap is not None and _down(overlap.shift) > -output.nbytes:
                over = Over(number, _down(overlap.shift))
                found.append(Placed(call, output, candidate, over))
    return found


def firmware_of(jobs: Sequence[Placed], core: str) -> tuple[Firmware, list[int]]:
    """Return one firmware of all, and the sizes of its canaries."""
    regions = [_region(job) for job in jobs]
    sizes = [SMALLEST_CANARY, *(_up(size + SMALLEST_CANARY) - size for _, size in regions)]
    canaries = [TensorSpec((size,), "int8") for size in sizes]
    module, _ = side_by_side([job.call for job in jobs], canaries)
    target = resolve(core)
    program = program_of(module, target.core.features)
    program = program.with_kernels([job.candidate for job in jobs])
    offsets, end = _offsets(program, jobs, regions, sizes)
    plan = replace(plan_arena(program), offsets=offsets, arena_bytes=end)
    compiled = Compiled(module, program, plan, generate(program, plan, "aliasing"))
    return Firmware.link(compiled.code.files, describe(compiled, target), target), sizes


def _region(job: Placed) -> tuple[tuple[int, int], int]:
    """Where input and output begin, and the size of both."""
    data = inputs_of(job.call)[job.over.number]
    input_at, output_at = places = job.over.offsets(_up(data.nbytes))
    return places, max(input_at + data.nbytes, output_at + job.output.nbytes)


def _offsets(
    program: Program,
    jobs: Sequence[Placed],
    regions: Sequence[tuple[tuple[int, int], int]],
    sizes: Sequence[int],
) -> tuple[dict[str, int], int]:
    first_canary = len(program.inputs) - len(sizes)
    names = [port.tensor for port in program.inputs[first_canary:]]
    offsets, at = {names[0]: 0}, sizes[0]
    for job, layer, (places, size), name, canary in zip(
        jobs, program.layers, regions, names[1:], sizes[1:], strict=True
    ):
        offsets[layer.inputs[job.over.number]] = at + places[0]
        offsets[layer.output] = at + places[1]
        offsets[name] = at + size
        at += size + canary
    for layer in program.layers:
        for name in _others(layer, offsets):
            offsets[name] = at
            at += _up(program.tensor(name).spec.nbytes)
    return offsets, at


def _others(layer: Layer, offsets: Collection[str]) -> list[str]:
    names = [*layer.inputs, *([layer.scratch] if layer.scratch else [])]
    return [name for name in names if name not in offsets]


def _down(number: int) -> int:
    return number // ALIGNMENT * ALIGNMENT


def _up(number: int) -> int:
    return -_down(-number)
