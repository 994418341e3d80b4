"""Real models patch by patch: exact, in the memory of the published figures, with the overhead
of the multiply-accumulates that patches have more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from tests.support.shared import shared_path
from tvm_tiny import load
from tvm_tiny.codegen.generate import generate
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import Compiled, rewrite
from tvm_tiny.relay_passes.integer_ports import integer_ports
from tvm_tiny.relay_passes.order_operators import order_operators
from tvm_tiny.relay_passes.patches import with_patches
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Patches, Program, program_of
from tvm_tiny.targets.target import resolve

TARGET = resolve("cortex-m7", 4 << 20, None)
OVERHEAD = 1.05  # of instructions, over that of multiply-accumulates


@dataclass(frozen=True)
class Case:
    """A model, its patches, and bytes beside the input image that its arena may take."""

    path: tuple[str, ...]
    grid: tuple[int, int]
    split: int
    arena_bytes: int
    tile: int  # rows of the image in a patch
    full: float  # multiply-accumulates of all patches full size, over those of the model
    clipped: float


CASES = {
    "mcunet-vww1": Case(("mcunet", "mcunet-vww1.tflite"), (2, 2), 6, 59_568, 47, 1.030, 1.014),
    "mcunetv2": Case(("mcunet", "mcunetv2_large.tflite"), (4, 4), 8, 441_000, 63, 1.041, 1.030),
}


@cache
def plain(name: str) -> tuple[object, Program]:
    """Return a model layer by layer; its ports are int8."""
    module = rewrite(load(shared_path("models", *CASES[name].path)))
    program = program_of(module, TARGET.core.features)
    return module, order_operators(integer_ports(program))


def patched(name: str) -> Program:
    return with_patches(plain(name)[1], CASES[name].grid, CASES[name].split, TARGET.core.features)


def firmware(name: str, program: Program) -> Firmware:
    plan = plan_arena(program)
    compiled = Compiled(plain(name)[0], program, plan, generate(program, plan, "patched"))
    return Firmware.link(compiled.code.files, describe(compiled, TARGET), TARGET)


def patches_in(program: Program) -> Patches:
    (found,) = (step for step in program.steps if isinstance(step, Patches))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_memory_and_counters(name: str) -> None:
    case, program = CASES[name], patched(name)
    image = sum(program.tensor(port.tensor).spec.nbytes for port in program.inputs)
    # what is live while the image is, and what is when it no longer is
    plan, patches = plan_arena(program), patches_in(program)
    stage = patches.scratch_bytes + program.tensor(patches.output).spec.nbytes
    assert stage <= case.arena_bytes
    assert plan.arena_bytes <= case.arena_bytes + image
    assert patches.tiles[0].rows.extent == case.tile
    whole = sum(layer.macs for layer in program.layers)
    inside = sum(layer.macs for layer in patches.layers)
    assert 1 + (patches.executed_macs - inside) / whole == pytest.approx(case.full, abs=1e-3)
    assert 1 + (patches.clipped_macs - inside) / whole == pytest.approx(case.clipped, abs=1e-3)


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_instructions(name: str) -> None:
    whole, parts = firmware(name, plain(name)[1]).run(), firmware(name, patched(name)).run()
    for given, expected in zip(parts.outputs, whole.outputs, strict=True):
        assert np.array_equal(given, expected)
    assert parts.instructions is not None and whole.instructions is not None
    assert parts.instructions <= whole.instructions * CASES[name].full * OVERHEAD
