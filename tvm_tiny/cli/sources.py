"""From a model or a saved artefact on the command line to firmware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tvm_tiny.cli.options import Source
from tvm_tiny.cli.terminal import notices, phase
from tvm_tiny.errors import TargetError

if TYPE_CHECKING:
    from tvm_tiny.arrays import Inputs
    from tvm_tiny.firmware import Firmware

FIRST_SAMPLE_S, FURTHER_SAMPLE_S = 120.0, 10.0


def firmware_of(source: Source) -> Firmware:
    """Compile the model, or open what `tvm-tiny build` wrote."""
    return _open(source) if source.is_artefact else _compile(source)


def _open(source: Source) -> Firmware:
    for option in (
        "sram",
        "flash",
        "fast_sram",
        "name",
        "optimize",
        "patch",
        "input_rows",
        "integer_io",
        "database",
    ):
        if getattr(source, option) not in (None, False):
            flag = option.replace("_", "-")
            raise click.UsageError(f"--{flag} cannot change firmware that is built already")
    with phase(f"opening {source.model}"):
        from tvm_tiny.firmware import open_firmware

        firmware = open_firmware(source.model)
    if source.target not in (None, firmware.target.name):
        raise TargetError(
            f"this firmware is built for {firmware.target.name}, not {source.target}",
            where=str(source.model),
            hint="leave --target out, or build the model again",
        )
    return firmware


def _compile(source: Source) -> Firmware:
    if source.target is None:
        raise click.UsageError("Missing option '--target' (`tvm-tiny targets` lists them)")
    from tvm_tiny.targets.target import resolve

    target = resolve(  # wrong names fail before TVM loads
        source.target, source.sram, source.flash, source.fast_sram
    )
    with phase(f"reading {source.model}"):
        from tvm_tiny.build_firmware import build, default_name
        from tvm_tiny.importers import load

        module = load(source.model)
    with phase(f"compiling for {target.name}"), notices():
        return build(
            module,
            target,
            name=source.name or default_name(source.model),
            optimize=source.optimize or "speed",
            patch=source.patch or "auto",
            input_rows=source.input_rows,
            integer_io=source.integer_io,
            database=source.database,
        )


def facts_of(firmware: Firmware) -> dict[str, Any]:
    """What `tvm-tiny build` tells of firmware."""
    sizes, metadata = firmware.image.sizes, firmware.metadata
    return {
        "name": firmware.name,
        "target": firmware.target.name,
        "core": firmware.target.core.name,
        "arena_bytes": metadata.arena_bytes,
        "fast_arena_bytes": metadata.fast_arena_bytes,
        "arena_lower_bound_bytes": metadata.arena_lower_bound_bytes,
        "peak_tensor_bytes": metadata.peak_tensor_bytes,
        "patch": msgspec.to_builtins(metadata.stages),
        "flash_code_bytes": sizes.flash_code_bytes,
        "flash_weights_bytes": sizes.flash_weights_bytes,
        "sram_limit_bytes": firmware.target.sram_bytes,
        "flash_limit_bytes": firmware.target.flash_bytes,
    }


def inputs_of(firmware: Firmware, path: Path | None) -> Inputs | None:
    """The arrays of an input file, if one is given."""
    from tvm_tiny.cli.array_files import read_inputs

    return None if path is None else read_inputs(path, firmware.metadata.inputs)


def patience(firmware: Firmware, inputs: Inputs | None) -> float:
    """Seconds that a run may take if nobody says otherwise."""
    from tvm_tiny.arrays import pack_inputs

    samples = 1 if inputs is None else pack_inputs(firmware.metadata.inputs, inputs)[1]
    return FIRST_SAMPLE_S + FURTHER_SAMPLE_S * (samples - 1)
