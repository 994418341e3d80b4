"""What is in an ELF file: section sizes, functions, and the function at an address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

_WEIGHTS = ".weights"
_SUPPORT = ".support"
_STACK = ".stack"
_RAM = (_STACK, ".data", ".bss", ".fast")


@dataclass(frozen=True)
class Section:
    """An allocated section: `in_file` tells data from zero-filled memory."""

    name: str
    address: int
    size: int
    writable: bool
    in_file: bool


@dataclass(frozen=True)
class Function:
    """A function's code: [low, high)."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Sizes:
    """Bytes of a firmware image in each memory."""

    flash_code_bytes: int  # all Flash but the weights: code, constants, initial values
    flash_weights_bytes: int
    sram_bytes: int  # all RAM: data, arenas, stacks
    stack_bytes: int  # the part of the RAM that is reserved for the stacks
    support_bytes: int  # the part of flash_code_bytes that is start-up and harness

    @property
    def flash_bytes(self) -> int:
        """All Flash."""
        return self.flash_code_bytes + self.flash_weights_bytes


def read_sections(path: Path) -> tuple[Section, ...]:
    """The allocated, non-empty sections of an object or an executable."""
    with path.open("rb") as file:
        return tuple(
            Section(
                section.name,
                section["sh_addr"],
                section["sh_size"],
                bool(section["sh_flags"] & SH_FLAGS.SHF_WRITE),
                section["sh_type"] != "SHT_NOBITS",
            )
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]
        )


def measure(path: Path) -> Sizes:
    """The sizes of a firmware image."""
    sections = read_sections(path)
    flash = sum(section.size for section in sections if section.in_file)
    weights = size_of(sections, _WEIGHTS)
    return Sizes(
        flash_code_bytes=flash - weights,
        flash_weights_bytes=weights,
        sram_bytes=sum(section.size for section in sections if section.name in _RAM),
        stack_bytes=size_of(sections, _STACK),
        support_bytes=size_of(sections, _SUPPORT),
    )


def size_of(sections: Iterable[Section], name: str) -> int:
    """The total size of the sections of this name."""
    return sum(section.size for section in sections if section.name == name)


def support_range(path: Path) -> Function:
    """Where start-up, fault handler and harness are."""
    section = next(section for section in read_sections(path) if section.name == _SUPPORT)
    return Function(section.name, section.address, section.address + section.size)


def read_functions(path: Path) -> tuple[Function, ...]:
    """Every function that has a size, by address."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        found = {
            Function(
                symbol.name,
                symbol["st_value"] & ~1,  # bit 0 marks Thumb code
                (symbol["st_value"] & ~1) + symbol["st_size"],
            )
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]
        }
    return tuple(sorted(found, key=lambda function: (function.low, function.name)))


def symbolise(functions: Iterable[Function], address: int) -> str:
    """The name of the function that holds this address, or an empty string."""
    return next(
        (function.name for function in functions if function.low <= address & ~1 < function.high),
        "",
    )
