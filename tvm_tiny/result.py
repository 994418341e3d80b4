"""What a run gave: outputs, exact instruction counts, estimated cycles, stack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tvm_tiny.metadata import PortInfo, StageInfo
from tvm_tiny.targets import cycles
from tvm_tiny.targets.raw_run import RawRun, instructions_by_owner

if TYPE_CHECKING:
    from tvm_tiny.firmware import Firmware

Array = np.ndarray[Any, Any]
RUN_OWNER = 1  # owners of counts: 0 the harness, 1 the run function, then the layers in order


@dataclass(frozen=True)
class LayerResult:
    """One layer; `instructions` is exact, `cycles_estimated` None where the core has no model.

    `kernel` is the variant that it took.
    """

    name: str
    op: str
    macs: int
    instructions: int | None
    cycles_estimated: int | None
    output_bytes: int
    kernel: str = ""


@dataclass(frozen=True)
class RunResult:
    """Outputs of all samples; counts of the first sample's call of the run function alone.

    `instructions`, cycles and stack are None for runs on the host.
    """

    outputs: tuple[Array, ...]
    output_ports: tuple[PortInfo, ...]
    target: str
    core: str
    arena_bytes: int
    arena_lower_bound_bytes: int
    peak_tensor_bytes: int
    memory_steps: dict[str, int]
    patch: tuple[StageInfo, ...]
    stack_bytes: int | None
    flash_code_bytes: int
    flash_weights_bytes: int
    instructions: int | None
    cycles_estimated: int | None
    cycles_error: str
    layers: tuple[LayerResult, ...]

    @property
    def output(self) -> Array:
        """Output 0."""
        return self.outputs[0]

    def as_json(self) -> dict[str, Any]:
        """The documented fields of `--json`, and no others."""
        plain = asdict(self)
        ports = [asdict_port(port) for port in self.output_ports]
        layers = [asdict(layer) for layer in self.layers]
        stages = msgspec.to_builtins(self.patch)
        lists = {"patch": stages, "outputs": ports, "layers": layers}
        return {name: plain[name] for name in JSON_FIELDS} | lists


JSON_FIELDS = (
    "target",
    "core",
    "arena_bytes",
    "arena_lower_bound_bytes",
    "peak_tensor_bytes",
    "memory_steps",
    "stack_bytes",
    "flash_code_bytes",
    "flash_weights_bytes",
    "instructions",
    "cycles_estimated",
)


def asdict_port(port: PortInfo) -> dict[str, Any]:
    """A port as JSON."""
    return {
        "name": port.name,
        "shape": list(port.shape),
        "dtype": port.dtype,
        "scale": port.scale,
        "zero_point": port.zero_point,
    }


def measure(firmware: Firmware, raw: RawRun, outputs: Sequence[Array]) -> RunResult:
    """Attribute the counts of a run to the model's layers."""
    metadata, image = firmware.metadata, firmware.image
    counts = instructions_by_owner(raw.blocks)
    estimates = _cycles(firmware, raw)
    first_layer = RUN_OWNER + 1
    layers = tuple(
        LayerResult(
            layer.name,
            layer.op,
            layer.macs,
            counts.get(owner) if counts else None,
            estimates.get(owner),
            layer.output_bytes,
            layer.kernel,
        )
        for owner, layer in enumerate(metadata.layers, first_layer)
    )
    model = firmware.target.core.cycle_model
    return RunResult(
        outputs=tuple(outputs),
        output_ports=metadata.outputs,
        target=firmware.target.name,
        core=firmware.target.core.name,
        arena_bytes=metadata.arena_bytes,
        arena_lower_bound_bytes=metadata.arena_lower_bound_bytes,
        peak_tensor_bytes=metadata.peak_tensor_bytes,
        memory_steps=dict(metadata.memory_steps),
        patch=metadata.stages,
        stack_bytes=raw.stack_bytes,
        flash_code_bytes=image.sizes.flash_code_bytes,
        flash_weights_bytes=image.sizes.flash_weights_bytes,
        instructions=sum(counts.values()) if counts else None,
        cycles_estimated=sum(estimates.values()) if estimates else None,
        cycles_error=cycles.known_error(model) if estimates else "",
        layers=layers,
    )


def _cycles(firmware: Firmware, raw: RawRun) -> dict[int, int]:
    """Estimated cycles by owner; empty without counts or without a model of the core."""
    model = firmware.target.core.cycle_model
    if not raw.blocks or model not in cycles.MODELS:
        return {}
    by_owner: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    for block in raw.blocks:
        for entry in block.counts:
            by_owner[entry.owner].append(
                (block.address, block.size, entry.count, entry.fall_through)
            )
    program = firmware.disassembly
    return {owner: cycles.estimate(model, program, rows) for owner, rows in by_owner.items()}
