"""Programs of random nets, compiled and run, with what the operators' meaning says."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tvm import IRModule

from tests.support.random_nets import Net, evaluate
from tvm_tiny.arrays import pack_inputs, unpack_outputs
from tvm_tiny.codegen.generate import generate
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import Compiled
from tvm_tiny.relay_passes.plan_regions import plan_regions
from tvm_tiny.relay_passes.program import Program
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image
from tvm_tiny.targets.target import resolve

SAMPLES = 2
TIMEOUT_S = 300.0


def inputs_of(nets: Sequence[Net], seed: int = 0) -> list[Array]:
    """Return an array of samples for each net."""
    generator = np.random.default_rng(seed)
    return [generator.integers(-128, 128, (SAMPLES, *net.input.shape[1:]), np.int8) for net in nets]


def expected_outputs(nets: Sequence[Net], inputs: Sequence[Array]) -> list[list[Array]]:
    """Return outputs by net, samples stacked."""
    found = []
    for net, samples in zip(nets, inputs, strict=True):
        rows = [evaluate(net, sample[np.newaxis]) for sample in samples]
        found.append([np.concatenate(column) for column in zip(*rows, strict=True)])
    return found


def compiled(program: Program, fast_bytes: int = 0) -> Compiled:
    """Return a program with its plan and its sources; with fast memory it has two arenas."""
    plan = plan_regions(program, fast_bytes)
    return Compiled(IRModule(), program, plan, generate(program, plan, "nets"))


def run_on_host(program: Program, inputs: Sequence[Array], fast_bytes: int = 0) -> list[Array]:
    """Return the outputs of a build with sanitisers."""
    made = compiled(program, fast_bytes)
    metadata = describe(made, resolve("cortex-m4", None, None))
    packed, samples = pack_inputs(metadata.inputs, inputs)
    with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
        executable = build_host_image(made.code.files, "nets", Path(folder))
        raw = host.run(executable, packed, TIMEOUT_S)
    return unpack_outputs(metadata.outputs, raw.output_bytes, samples)


def run_on_core(
    program: Program, inputs: Sequence[Array], core: str, fast_bytes: int = 0
) -> list[Array]:
    """Return the outputs of firmware."""
    target = resolve(core, None, None, fast_bytes)
    made = compiled(program, fast_bytes)
    firmware = Firmware.link(made.code.files, describe(made, target), target)
    return list(firmware.run(inputs, timeout_s=TIMEOUT_S).outputs)
