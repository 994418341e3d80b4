"""Where the measurement server, its subjects' data and their code lie in a board's memories.

The server's variables and both stacks are at the bottom of the RAM, so that an overflow leaves it.
Subjects' code and constants get the upper part, which they may read and execute only, and their
tensors what is between: so the same layout serves boards whose Flash cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Memory
from tvm_tiny.targets.mpu import V7M_REGIONS, Region, cover, region_v7m, region_v8m
from tvm_tiny.targets.target import LIMIT_GRANULE, Target

STACK_BYTES = 4096  # the least; a board's own is taken where it is more
SERVER_BYTES = 8192  # of RAM, stacks included: one region of the protection unit
DATA_ALIGN = 4096


@dataclass(frozen=True)
class ServerLayout:
    """Memories of the server, of its subjects' tensors, and of their code."""

    target: Target
    server: Memory
    data: Memory
    code: Memory

    @property
    def open(self) -> Memory:
        """What the host may fill."""
        return Memory(self.data.origin, self.code.end - self.data.origin)

    def regions(self, data_end: int) -> tuple[Region, ...]:
        """What a subject may touch whose tensors end at `data_end`, of `end_of_data`."""
        data = Memory(self.data.origin, data_end - self.data.origin)
        memories = [(memory, True) for memory in (*_flash(self.target), self.code)]
        memories += [(self.server, False), (data, False)]
        if self.target.core.mpu == "v8m":
            return tuple(region_v8m(memory, is_code=code) for memory, code in memories)
        return tuple(
            region_v7m(block, is_code=code)
            for memory, code in memories
            for block in cover(memory.origin, memory.end)
        )

    def end_of_data(self, size: int) -> int:
        """Where tensors of `size` bytes end, no earlier than they need and as the unit can tell."""
        taken = sum(
            len(cover(memory.origin, memory.end))
            for memory in (*_flash(self.target), self.server, self.code)
        )
        granule = LIMIT_GRANULE
        while True:
            end = self.data.origin + -(-size // granule) * granule
            if end > self.data.end:
                raise TargetError(
                    "tensors, with what is around them, have no room in the RAM",
                    where=self.target.name,
                    limit=self.data.length,
                    found=size,
                )
            is_told = len(cover(self.data.origin, end)) + taken <= V7M_REGIONS
            if self.target.core.mpu == "v8m" or is_told:
                return end
            granule *= 2


def server_layout(target: Target) -> ServerLayout:
    """The layout of a target; raises TargetError for cores that cannot hold a subject back."""
    if target.core.mpu == "none":
        raise TargetError(
            "a measurement server needs a core with a memory protection unit", where=target.name
        )
    ram = target.board.slow_ram
    server = Memory(ram.origin, SERVER_BYTES)
    code_bytes = 1 << ((ram.length // 2).bit_length() - 1)
    start = ram.origin + max(SERVER_BYTES, DATA_ALIGN)
    # tensors begin as even as they can, so that few regions describe them
    code_start = (ram.end - code_bytes) // code_bytes * code_bytes
    data_start = max(start, ram.origin + (code_start - ram.origin) // 4)
    if code_start <= data_start:
        raise TargetError("too little RAM for a measurement server", where=target.name)
    return ServerLayout(
        target,
        server,
        Memory(data_start, code_start - data_start),
        Memory(code_start, code_bytes),
    )


def server_target(target: Target) -> Target:
    """The target as the server's own firmware is linked for it: with little RAM."""
    board = msgspec.structs.replace(
        target.board,
        ram=server_layout(target).server,
        stack_bytes=max(STACK_BYTES, min(target.board.stack_bytes, SERVER_BYTES // 2)),
        fast_ram=None,
    )
    return Target(target.name, target.core, board, SERVER_BYTES, target.flash_bytes)


def _flash(target: Target) -> tuple[Memory, ...]:
    vectors = target.board.vectors
    return (target.board.flash, *((vectors,) if vectors else ()))
