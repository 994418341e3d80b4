"""What an artefact says of itself: `metadata.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version

import msgspec

from tvm_tiny.errors import ArtefactError
from tvm_tiny.pipeline import Compiled
from tvm_tiny.relay_passes.program import Patches, Port, Program, Stage
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.targets.target import Target
from tvm_tiny.version import VERSION

FORMAT = 2


class PortInfo(msgspec.Struct, frozen=True):
    """An input or output; scale and zero point are None for float tensors.

    Inputs by rows arrive by call-back.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    by_rows: bool = False


class CostInfo(msgspec.Struct, frozen=True):
    """What a kernel costs: by the table of costs, or by measurement; None where nothing is known.

    `measured` says that instructions and cycles are from a database of measurements.
    """

    instructions: int | None
    cycles: int | None
    flash_bytes: int  # with all that it shares with others
    scratch_bytes: int
    measured: bool = False


class LayerInfo(msgspec.Struct, frozen=True):
    """One layer, in the order of execution; `kernel` is the variant that it took, with options."""

    name: str
    op: str
    symbol: str
    macs: int
    output_bytes: int
    kernel: str = ""
    cost: CostInfo | None = None
    options: dict[str, int | str] = {}


class StageInfo(msgspec.Struct, frozen=True):
    """Layers `first` to `last` run by strips, or patch by patch.

    Strips make `rows` rows of each layer at a time; patches are a grid of (rows, columns).
    """

    first: int
    last: int
    scratch_bytes: int
    rows: tuple[int, ...] = ()
    grid: tuple[int, int] | None = None


class TargetInfo(msgspec.Struct, frozen=True):
    """What the firmware was built for."""

    name: str
    sram_bytes: int
    flash_bytes: int
    fast_sram_bytes: int = 0


class Metadata(msgspec.Struct, frozen=True):
    """All that is known of a compiled model without its sources.

    `choice` is "optimal", "feasible" or "greedy" where kernels were chosen by measurements.
    """

    format: int
    name: str
    tvm_tiny: str
    tvm: str
    target: TargetInfo
    arena_bytes: int
    arena_lower_bound_bytes: int
    peak_tensor_bytes: int
    memory_steps: tuple[tuple[str, int], ...]  # bytes needed after each pass, in this order
    stages: tuple[StageInfo, ...]
    inputs: tuple[PortInfo, ...]
    outputs: tuple[PortInfo, ...]
    layers: tuple[LayerInfo, ...]
    files: dict[str, str]  # relative path -> sha256
    fast_arena_bytes: int = 0
    choice: str = ""

    def as_json(self) -> bytes:
        """Readable, with sorted keys: the same bytes every time."""
        encoded = msgspec.json.encode(self, order="sorted")
        return msgspec.json.format(encoded, indent=2) + b"\n"


def describe(compiled: Compiled, target: Target) -> Metadata:
    """Metadata of a compiled model; `files` holds its sources."""
    program, code = compiled.program, compiled.code
    pairs = zip(program.layers, code.layer_symbols, strict=True)
    return Metadata(
        format=FORMAT,
        name=code.name,
        tvm_tiny=VERSION,
        tvm=version("apache-tvm"),
        target=TargetInfo(
            target.name, target.sram_bytes, target.flash_bytes, target.fast_sram_bytes
        ),
        arena_bytes=compiled.plan.arena_bytes,
        arena_lower_bound_bytes=compiled.plan.lower_bound_bytes,
        peak_tensor_bytes=compiled.plan.peak_tensor_bytes,
        memory_steps=tuple((s.name, s.bytes_needed) for s in compiled.memory_steps),
        stages=tuple(_stages(program)),
        inputs=_ports(program, program.inputs),
        outputs=_ports(program, program.outputs),
        layers=tuple(
            LayerInfo(
                layer.name,
                layer.operator,
                symbol,
                layer.macs,
                layer.output_bytes,
                layer.chosen.variant,
                _cost(layer.chosen, target.core.cycle_model),
                dict(layer.chosen.options),
            )
            for layer, symbol in pairs
        ),
        files=hashes({name: text.encode() for name, text in code.files.items()}),
        fast_arena_bytes=compiled.plan.fast_bytes,
        choice=program.proof,
    )


def hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    """sha256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())}


def parse(data: bytes) -> Metadata:
    """Read metadata.json; raises ArtefactError where it is broken or of another format."""
    try:
        metadata = msgspec.json.decode(data, type=Metadata)
    except msgspec.DecodeError as error:
        raise ArtefactError("broken metadata.json", hint=str(error)) from error
    if metadata.format != FORMAT:
        raise ArtefactError("unknown artefact format", limit=FORMAT, found=metadata.format)
    return metadata


def _stages(program: Program) -> Iterator[StageInfo]:
    for first, last, step in program.numbered_steps():
        if isinstance(step, Stage):
            rows = tuple(item.rows for item in step.row_layers)
            yield StageInfo(first, last, step.scratch_bytes, rows)
        if isinstance(step, Patches):
            grid = (len(step.rows), len(step.columns))
            yield StageInfo(first, last, step.scratch_bytes, grid=grid)


def _cost(chosen: Candidate, cycle_model: str) -> CostInfo:
    cycles, flash_bytes = chosen.cycles(cycle_model), sum(chosen.pieces.values())
    instructions = chosen.instructions if chosen.is_measured and chosen.instructions else None
    is_from_run = chosen.measured is not None
    return CostInfo(instructions, cycles, flash_bytes, chosen.scratch_bytes, is_from_run)


def _ports(program: Program, ports: tuple[Port, ...]) -> tuple[PortInfo, ...]:
    specs = [program.tensor(port.tensor).spec for port in ports]
    return tuple(
        PortInfo(
            port.name, spec.shape, spec.dtype, port.scale, port.zero_point, port.is_called_back
        )
        for port, spec in zip(ports, specs, strict=True)
    )
