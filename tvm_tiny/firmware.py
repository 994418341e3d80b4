"""Firmware: a compiled model that runs, is measured, is saved and opened again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tvm_tiny import artefact
from tvm_tiny.arrays import Inputs, pack_inputs, random_inputs, unpack_outputs
from tvm_tiny.errors import DoesNotFitError, FaultError
from tvm_tiny.metadata import Metadata
from tvm_tiny.report import render
from tvm_tiny.result import RunResult, measure
from tvm_tiny.targets import cycles, host, qemu
from tvm_tiny.targets.cycles.instruction import Program as Disassembly
from tvm_tiny.targets.elf import measure as measure_sizes
from tvm_tiny.targets.elf import read_functions
from tvm_tiny.targets.image import Image, build_host_image, build_image
from tvm_tiny.targets.profile import profile_ranges
from tvm_tiny.targets.raw_run import RawRun
from tvm_tiny.targets.target import Target, resolve

DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True, eq=False)
class Firmware:
    """C sources, their metadata and the ELF file linked from them.

    The ELF lives in `folder`, which goes away with this object unless it was opened from a path.
    """

    sources: Mapping[str, str]
    metadata: Metadata
    target: Target
    image: Image
    folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @staticmethod
    def link(sources: Mapping[str, str], metadata: Metadata, target: Target) -> Firmware:
        """Compile and link generated sources; raises DoesNotFitError before linking."""
        if metadata.arena_bytes > target.sram_bytes:
            raise DoesNotFitError(
                "the tensors alone need more than the SRAM",
                where=_largest_layer(metadata),
                limit=target.sram_bytes,
                found=metadata.arena_bytes,
                hint="a smaller input, or a target with more SRAM",
            )
        folder = tempfile.TemporaryDirectory(prefix="tvm_tiny-")
        image = build_image(sources, metadata.name, target, Path(folder.name))
        return Firmware(sources, metadata, target, image, folder)

    @property
    def name(self) -> str:
        """The model's C name."""
        return self.metadata.name

    def run(
        self,
        inputs: Inputs | None = None,
        *,
        on: str = "target",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> RunResult:
        """Run every sample of `inputs` and measure the first.

        `inputs` is an array per input (one array, a list, or a dict by name) of the model's own
        dtype and shape; a longer first axis holds several samples. None is one random sample.
        `on` is "target" (the emulator) or "host" (this machine, under sanitisers, not measured).

        Raises InputError, FaultError, HangError, MissingToolError, TargetError.
        """
        given = random_inputs(self.metadata.inputs) if inputs is None else inputs
        packed, samples = pack_inputs(self.metadata.inputs, given)
        if on not in ("target", "host"):
            raise ValueError(f"on must be 'target' or 'host', not {on!r}")
        raw = self._run_host(packed, timeout_s) if on == "host" else self._run(packed, timeout_s)
        self._check(raw, samples)
        outputs = unpack_outputs(self.metadata.outputs, raw.output_bytes, samples)
        return measure(self, raw, outputs)

    def profile(self, inputs: Inputs | None = None) -> RunResult:
        """Run and measure one sample: the first of `inputs`, or a random one."""
        given = random_inputs(self.metadata.inputs) if inputs is None else inputs
        packed, samples = pack_inputs(self.metadata.inputs, given)
        raw = self._run(packed[: len(packed) // samples], DEFAULT_TIMEOUT_S)
        self._check(raw, 1)
        return measure(self, raw, unpack_outputs(self.metadata.outputs, raw.output_bytes, 1))

    def report(self, result: RunResult | None = None) -> str:
        """Memory and instructions of every layer as a table; runs a random sample if none given."""
        return render(result or self.profile())

    def save(self, path: str | Path) -> None:
        """Write sources, ELF and metadata.json to a folder, or to a tar if the name ends so."""
        artefact.save(Path(path), self.sources, self.metadata, self.image.elf)

    @cached_property
    def disassembly(self) -> Disassembly:
        """Decoded instructions of the ELF, for cycle estimates."""
        return cycles.disassemble(self.image.elf)

    @cached_property
    def _host_folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="tvm_tiny-host-")

    @cached_property
    def _host_program(self) -> Path:
        return build_host_image(self.sources, self.name, Path(self._host_folder.name))

    def _run(self, packed: bytes, timeout_s: float) -> RawRun:
        return qemu.run(self.image.elf, self.target, packed, self.image.profile, timeout_s)

    def _run_host(self, packed: bytes, timeout_s: float) -> RawRun:
        return host.run(self._host_program, packed, timeout_s)

    def _check(self, raw: RawRun, samples: int) -> None:
        if raw.return_code != 0 or raw.samples != samples:
            raise FaultError(
                f"{self.name}_run ended with code {raw.return_code}",
                where=f"sample {raw.samples}",
                found=raw.samples,
                limit=samples,
            )


def open_firmware(path: str | Path) -> Firmware:
    """Open what `Firmware.save` wrote; raises ArtefactError where a file is missing or changed."""
    folder = tempfile.TemporaryDirectory(prefix="tvm_tiny-")
    sources, metadata, elf = artefact.load(Path(path), Path(folder.name))
    info = metadata.target
    target = resolve(info.name, info.sram_bytes, info.flash_bytes, info.fast_sram_bytes)
    image = Image(
        elf,
        metadata.name,
        target,
        measure_sizes(elf),
        read_functions(elf),
        profile_ranges(elf, metadata.name),
    )
    return Firmware(sources, metadata, target, image, folder)


def _largest_layer(metadata: Metadata) -> str:
    return max(metadata.layers, key=lambda layer: layer.output_bytes).name
