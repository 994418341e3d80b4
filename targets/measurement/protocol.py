"""What is said on the line between a host and the measurement server: firmware/server.h."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_tiny.targets.fault import FaultReport
from tvm_tiny.targets.mpu import Region

REQUEST_MAGIC, ANSWER_MAGIC = 0x54545131, 0x54544131
MOST_REGIONS = 8
DONE, FAULT, REFUSED = 0, 1, 2

_REQUEST = struct.Struct("<8I")
_PAIR = struct.Struct("<2I")
ANSWER = struct.Struct("<3I8I")
HEAD = struct.Struct("=2IQ")
RECORD = np.dtype(
    [
        *((name, "u4") for name in ("address", "size", "instructions", "unused")),
        *((name, "u8") for name in ("count", "fall_through")),
    ]
)


@dataclass(frozen=True)
class Request:
    """Bytes to write, a function to call, and what of the memory is wanted afterwards."""

    writes: Sequence[tuple[int, bytes]] = ()
    entry: int = 0  # of Thumb code: an odd address
    argument: int = 0
    answer_address: int = 0
    answer_bytes: int = 0
    regions: Sequence[Region] = ()
    timeout_ms: int = 0

    def encode(self) -> bytes:
        """Its bytes on the line."""
        numbers = (
            *(REQUEST_MAGIC, len(self.writes), self.entry, self.argument),
            *(self.answer_address, self.answer_bytes, self.timeout_ms, len(self.regions)),
        )
        regions = [_PAIR.pack(region.base, region.attributes) for region in self.regions]
        regions += [bytes(_PAIR.size)] * (MOST_REGIONS - len(regions))
        parts = [_REQUEST.pack(*numbers), *regions]
        for address, data in self.writes:
            parts += [_PAIR.pack(address, len(data)), data]
        return b"".join(parts)


@dataclass(frozen=True)
class Counts:
    """What a subject executed, block by block: records of `RECORD`; no longer than the limit."""

    instructions: int
    records: np.ndarray[Any, Any]
    is_over_limit: bool = False


@dataclass(frozen=True)
class Answer:
    """How a call ended, and the memory that was asked for.

    `counts` come from an emulator with its plugin, `hardware_cycles` from a core's own counter.
    """

    data: bytes
    fault: FaultReport | None = None
    hardware_cycles: int | None = None
    counts: Counts | None = None


def parse_head(data: bytes) -> tuple[int, int, bool]:
    """Status, cycles and fault report of an answer as (status, cycles, is an answer at all)."""
    magic, status, cycles, *_ = ANSWER.unpack(data)
    return status, cycles, magic == ANSWER_MAGIC


def parse_fault(data: bytes) -> FaultReport:
    """The fault report of an answer."""
    return FaultReport(*ANSWER.unpack(data)[3:])
