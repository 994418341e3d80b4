"""What a stand measures, as plain data: code, where its tensors lie, and what it must compute."""

from __future__ import annotations

import msgspec

PREFIX = "SUBJECT"  # of every name in the texts, so that many subjects can be linked together
GUARD_BYTES = 256
PATTERN = 0xA5
CONSTANT_ALIGN = 16


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a tensor lies in the arena, or a constant among the constants."""

    name: str
    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.nbytes


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One candidate, ready to be compiled; `runtime` are the C files that it calls."""

    c_text: str
    assembly: str
    headers: tuple[str, ...]
    runtime: tuple[str, ...]
    constants: tuple[Place, ...]
    constant_bytes: bytes
    inputs: tuple[Place, ...]
    scratch: Place | None
    output: Place
    arena_bytes: int

    @property
    def key(self) -> tuple[str, ...]:
        """What its code depends on, beside flags and the C runtime."""
        return (self.c_text, self.assembly, *self.runtime)

    def arena(self, inputs: tuple[bytes, ...]) -> bytes:
        """The arena before a run: guards, scratch and output filled with a pattern."""
        arena = bytearray([PATTERN]) * self.arena_bytes
        for place, values in zip(self.inputs, inputs, strict=True):
            arena[place.offset : place.end] = values
        return bytes(arena)


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Run-time inputs of a call and its output, as bytes."""

    inputs: tuple[bytes, ...]
    output: bytes


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject and what it must compute; `dtype` is the output's."""

    subject: Subject
    samples: tuple[Sample, ...]
    dtype: str
