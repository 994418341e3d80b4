"""What one run of firmware gives, before anybody interprets it, and how it is read from files."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tvm_tiny.errors import FaultError

INPUT_FILE = "input.bin"
OUTPUT_FILE = "output.bin"
STATS_FILE = "stats.bin"

_STATS = struct.Struct("<3i")


@dataclass(frozen=True)
class BlockCount:
    """How often an owner executed a block, and how often control then fell through its end."""

    owner: int
    count: int
    fall_through: int


@dataclass(frozen=True)
class Block:
    """A straight run of instructions that was executed in the first inference."""

    address: int
    size: int
    instructions: int
    counts: tuple[BlockCount, ...]


@dataclass(frozen=True)
class RawRun:
    """The outputs of all samples and what was measured; blocks only where a profile was asked for.

    `stack_bytes` is the deepest use of the stack by the run function, None where not measured.
    """

    output_bytes: bytes
    return_code: int
    stack_bytes: int | None
    samples: int
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Trace:
    """What the emulator's plugin recorded."""

    blocks: tuple[Block, ...]
    owner: int  # the last one that is not the harness; -1 before the run function
    address: int  # the last block that it executed


def instructions_by_owner(blocks: Iterable[Block]) -> dict[int, int]:
    """Executed instructions of each owner; one whose condition is false counts as executed."""
    totals: Counter[int] = Counter()
    for block in blocks:
        for entry in block.counts:
            totals[entry.owner] += entry.count * block.instructions
    return dict(totals)


def read_run(directory: Path, blocks: tuple[Block, ...] = ()) -> RawRun:
    """Read the files that the harness left in `directory`."""
    stats = _read_or_empty(directory / STATS_FILE)
    if len(stats) != _STATS.size:
        raise FaultError("the firmware ended without its statistics", where=STATS_FILE)
    return_code, stack_bytes, samples = _STATS.unpack(stats)
    return RawRun(
        output_bytes=_read_or_empty(directory / OUTPUT_FILE),
        return_code=return_code,
        stack_bytes=stack_bytes if stack_bytes >= 0 else None,
        samples=samples,
        blocks=blocks,
    )


def _read_or_empty(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def parse_trace(text: str) -> Trace:
    """Read the plugin's result file."""
    shapes: dict[int, tuple[int, int, int]] = {}
    counts: defaultdict[int, list[BlockCount]] = defaultdict(list)
    owner, address = -1, 0
    for kind, *fields in map(str.split, text.splitlines()):
        if kind == "block":
            shapes[int(fields[0])] = (int(fields[1], 16), int(fields[2]), int(fields[3]))
        elif kind == "count":
            entry = BlockCount(int(fields[0]), int(fields[2]), int(fields[3]))
            counts[int(fields[1])].append(entry)
        elif kind == "state":
            owner, address = int(fields[1]), int(fields[2], 16)
    blocks = (
        Block(*shape, counts=tuple(sorted(counts[index], key=lambda entry: entry.owner)))
        for index, shape in shapes.items()
    )
    return Trace(
        tuple(sorted(blocks, key=lambda block: (block.address, block.size))), owner, address
    )
