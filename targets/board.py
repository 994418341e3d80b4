"""Cores and boards as data: one TOML file each, read into frozen structs that check themselves."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import TypeVar

import msgspec

from tvm_tiny.errors import TargetError

# "long" are the multiplies of 64 bits, of cores that have nothing better: no DSP instructions.
FEATURES = ("dsp", "fpu", "long", "mve", "unaligned")
MPU_KINDS = ("none", "v7m", "v8m")
TRANSPORTS = ("none", "qemu")


class Core(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A processor core: how to compile for it and what it can do."""

    name: str
    architecture: str
    compiler_flags: tuple[str, ...]
    features: tuple[str, ...]
    mpu: str
    cycle_model: str
    default_board: str

    def __post_init__(self) -> None:
        """Reject words that nothing understands."""
        _check_word(self.name, "mpu", self.mpu, MPU_KINDS)
        for feature in self.features:
            _check_word(self.name, "feature", feature, FEATURES)

    def has(self, feature: str) -> bool:
        """Whether the core has this feature, one of `FEATURES`."""
        return feature in self.features


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contiguous memory."""

    origin: int
    length: int

    def __post_init__(self) -> None:
        """Reject what is not inside the 32-bit address space."""
        if self.origin < 0 or self.length <= 0 or self.end > 1 << 32:
            raise TargetError(
                f"a memory must lie inside the 32-bit address space and not be empty: "
                f"origin {self.origin:#x}, length {self.length:#x}"
            )

    @property
    def end(self) -> int:
        """The first address behind the memory."""
        return self.origin + self.length


class Emulator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The emulator's machine that behaves like a board."""

    machine: str
    arguments: tuple[str, ...] = ()


class Uart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A serial port, of the kind that Arm's CMSDK has; what measurement servers listen on."""

    origin: int
    baud: int = 115_200


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board: its core, memories and clock, and how to run firmware on it."""

    name: str
    core: str
    clock_hz: int
    transport: str
    stack_bytes: int
    flash: Memory
    ram: Memory
    vectors: Memory | None = None  # where the vector table is not at the start of the Flash
    emulator: Emulator | None = None
    compiler_flags: tuple[str, ...] = ()  # what this part's core has less or more than others
    fast_ram: Memory | None = None  # beside the RAM or at its start: tightly coupled memory
    uart: Uart | None = None

    def __post_init__(self) -> None:
        """Reject contradictions between the fields."""
        _check_word(self.name, "transport", self.transport, TRANSPORTS)
        if (self.transport == "qemu") != (self.emulator is not None):
            raise TargetError(
                "an [emulator] belongs to transport 'qemu', and only to that", where=self.name
            )
        if self.clock_hz <= 0:
            raise TargetError("clock_hz must be positive", where=self.name, found=self.clock_hz)
        check_stack(self.name, self.stack_bytes, self.ram)
        fast, ram = self.fast_ram, self.ram
        if fast and fast.origin != ram.origin and fast.end > ram.origin and ram.end > fast.origin:
            raise TargetError("fast_ram lies inside the RAM, but not at its start", where=self.name)
        if fast and fast.origin == ram.origin and fast.length >= ram.length:
            raise TargetError("fast_ram leaves no RAM", where=self.name)

    @property
    def slow_ram(self) -> Memory:
        """The RAM without fast memory at its start."""
        if self.fast_ram is None or self.fast_ram.origin != self.ram.origin:
            return self.ram
        return Memory(self.fast_ram.end, self.ram.length - self.fast_ram.length)


def check_stack(where: str, stack_bytes: int, ram: Memory) -> None:
    """Reject a stack that is misaligned, empty or bigger than the RAM."""
    if stack_bytes <= 0 or stack_bytes % 8:
        raise TargetError(
            "the stack size must be a positive multiple of 8", where=where, found=stack_bytes
        )
    if stack_bytes >= ram.length:
        raise TargetError(
            "the stack leaves no RAM", where=where, limit=ram.length, found=stack_bytes
        )


def _check_word(where: str, field: str, word: str, allowed: Collection[str]) -> None:
    if word not in allowed:
        raise TargetError(f"{field} {word!r} is not one of {', '.join(allowed)}", where=where)


Description = TypeVar("Description", Core, Board)


def decode(text: str, kind: type[Description], where: str) -> Description:
    """Read one TOML description; `where` names it in errors."""
    try:
        return msgspec.toml.decode(text, type=kind, strict=True)
    except msgspec.DecodeError as error:
        fields = ", ".join(kind.__struct_fields__)
        raise TargetError(str(error), where=where, hint=f"the fields are {fields}") from error


def _load_folder(folder: str, kind: type[Description]) -> dict[str, Description]:
    entries = resources.files(__package__).joinpath(folder).iterdir()
    files = sorted(entries, key=lambda entry: entry.name)
    return {
        file.name.removesuffix(".toml"): decode(file.read_text("utf-8"), kind, file.name)
        for file in files
        if file.name.endswith(".toml")
    }


@cache
def cores() -> dict[str, Core]:
    """Every core by name."""
    return _load_folder("cores", Core)


@cache
def boards() -> dict[str, Board]:
    """Every board by name."""
    return _load_folder("boards", Board)
