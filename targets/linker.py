"""The linker script of a target, and what happens when something does not fit its memories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tvm_tiny.errors import CompileError, DoesNotFitError
from tvm_tiny.targets.board import Memory, check_stack
from tvm_tiny.targets.elf import read_sections, size_of
from tvm_tiny.targets.mpu import enforceable_fast_ram, enforceable_ram
from tvm_tiny.targets.rendering import render
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import run_tool

# For the fault handlers, which have a stack of their own: the report and two nested calls.
FAULT_STACK_BYTES = 256
HARNESS_BYTES = 64  # of variables
FAST_SECTION = ".bss.fast_arena"  # of objects, in fast memory

_OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes")
_HINTS = {
    "SRAM": "a bigger target, a smaller model or input, or a smaller stack would help",
    "fast SRAM": "more of the board's fast memory, or none of it, would help",
    "Flash": "--optimize size, a bigger target, or a model with fewer weights would help",
}


@dataclass(frozen=True)
class Layout:
    """The memories that firmware is linked into."""

    name: str
    flash: Memory
    ram: Memory
    vectors: Memory | None
    stack_bytes: int
    fast_ram: Memory | None = None

    @property
    def stacks_bytes(self) -> int:
        """The RAM that the model's and the fault handlers' stack take."""
        return self.stack_bytes + FAULT_STACK_BYTES

    @property
    def flash_bytes(self) -> int:
        """All Flash, a separate memory for vectors included."""
        return self.flash.length + (self.vectors.length if self.vectors else 0)


def layout_for(target: Target, stack_bytes: int | None = None) -> Layout:
    """The target's memories under its limits; the stack's default size is the board's."""
    stack_bytes = stack_bytes or target.board.stack_bytes
    check_stack(target.name, stack_bytes, target.board.ram)
    return Layout(
        name=target.name,
        flash=target.flash,
        ram=enforceable_ram(target),
        vectors=target.board.vectors,
        stack_bytes=stack_bytes,
        fast_ram=enforceable_fast_ram(target),
    )


def largest_fast_arena(target: Target) -> int:
    """Bytes of fast memory, all of which are for tensors."""
    memory = enforceable_fast_ram(target)
    return memory.length if memory else 0


def largest_arena(target: Target) -> int:
    """Bytes of RAM that stacks and harness leave for tensors."""
    layout = layout_for(target)
    return layout.ram.length - layout.stacks_bytes - HARNESS_BYTES


def linker_script(layout: Layout) -> str:
    """The linker script's text."""
    return render(
        "firmware/firmware.ld.j2",
        name=layout.name,
        flash=layout.flash,
        ram=layout.ram,
        fast_ram=layout.fast_ram,
        vectors=layout.vectors,
        stack_bytes=layout.stack_bytes,
        fault_stack_bytes=FAULT_STACK_BYTES,
    )


def check_fits(layout: Layout, objects: Sequence[Path]) -> None:
    """Refuse what cannot fit, before linking.

    Counts variables and weights. Code is left to the linker, which drops unused functions.
    """
    sections = [section for path in objects for section in read_sections(path)]
    fast = size_of(sections, FAST_SECTION)
    ram = sum(section.size for section in sections if section.writable) - fast
    weights = sum(
        section.size
        for section in sections
        if section.name.startswith(".rodata.weights") or (section.writable and section.in_file)
    )
    if ram + layout.stacks_bytes > layout.ram.length:
        _refuse(layout, "SRAM", layout.ram.length, ram + layout.stacks_bytes)
    fast_limit = layout.fast_ram.length if layout.fast_ram else 0
    if fast > fast_limit:
        _refuse(layout, "fast SRAM", fast_limit, fast)
    if weights > layout.flash.length:
        _refuse(layout, "Flash", layout.flash_bytes, weights)


def link(
    compiler: str, layout: Layout, objects: Sequence[str], directory: Path, flags: Sequence[str]
) -> Path:
    """Link the objects, named relative to `directory`, to firmware.elf in it."""
    check_fits(layout, [directory / name for name in objects])
    (directory / "firmware.ld").write_text(linker_script(layout), "utf-8")
    command = [
        compiler,
        *flags,
        *LIBRARY_FLAGS,
        "-Tfirmware.ld",
        *objects,
        "-lm",
        "-o",
        "firmware.elf",
    ]
    try:
        run_tool(command, directory, "firmware.elf")
    except CompileError as error:
        _explain_overflow(layout, error)
    return directory / "firmware.elf"


LIBRARY_FLAGS = (
    "-nostartfiles",
    "--specs=nano.specs",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,--strip-debug",  # the C library's own debug sections hold its builder's paths
    "-Wl,--no-warn-rwx-segments",
)


def _explain_overflow(layout: Layout, error: CompileError) -> NoReturn:
    overflow = _OVERFLOW.search(str(error))
    if overflow is None:
        raise error
    region, excess = overflow[1], int(overflow[2])
    if region == "RAM":
        _refuse(layout, "SRAM", layout.ram.length, layout.ram.length + excess)
    _refuse(layout, "Flash", layout.flash_bytes, layout.flash_bytes + excess)


def _refuse(layout: Layout, memory: str, limit: int, found: int) -> NoReturn:
    raise DoesNotFitError(
        f"the firmware needs more {memory} than the limit, in bytes",
        where=layout.name,
        limit=limit,
        found=found,
        hint=_HINTS[memory],
    )
