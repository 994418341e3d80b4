"""What firmware is built for: a core on a board, under hard limits of SRAM and Flash."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import msgspec

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Board, Core, Memory, boards, cores

# What every memory protection unit here can enforce; linker and MPU use the same rounded limit.
LIMIT_GRANULE = 32


@dataclass(frozen=True)
class Target:
    """A core on a board, and the bytes that firmware may use of it.

    `sram_bytes`, `flash_bytes` and `fast_sram_bytes` are the limits as asked for. The
    linker script and the memory protection unit enforce them rounded down to a multiple of
    `LIMIT_GRANULE`.
    """

    name: str
    core: Core
    board: Board
    sram_bytes: int
    flash_bytes: int
    fast_sram_bytes: int = 0

    @property
    def compiler_flags(self) -> tuple[str, ...]:
        """Flags that choose the instruction set; the board's word is the last."""
        return self.core.compiler_flags + self.board.compiler_flags

    @property
    def emulated(self) -> bool:
        """Whether the emulator can run firmware for this target."""
        return self.board.emulator is not None

    @property
    def ram(self) -> Memory:
        """The RAM that firmware may use."""
        return Memory(self.board.ram.origin, _round_down(self.sram_bytes))

    @property
    def fast_ram(self) -> Memory | None:
        """The fast memory that firmware may use, if it was asked for.

        Before RAM that adjoins it a granule stays unused: a stack that overflows faults there.
        """
        memory = self.board.fast_ram
        if memory is None or not self.fast_sram_bytes:
            return None
        end = memory.end - (LIMIT_GRANULE if memory.end == self.ram.origin else 0)
        return Memory(memory.origin, _round_down(min(self.fast_sram_bytes, end - memory.origin)))

    @property
    def flash(self) -> Memory:
        """The Flash that firmware may use, without a separate memory for vectors."""
        vectors = self.board.vectors.length if self.board.vectors else 0
        return Memory(self.board.flash.origin, _round_down(self.flash_bytes - vectors))


def resolve(
    name: str, sram: int | None = None, flash: int | None = None, fast_sram: int | None = None
) -> Target:
    """The target of this name: a board, or a core, which stands for its emulator board.

    `sram` and `flash` are hard limits in bytes; the default is all that the board has. Of its fast
    memory `fast_sram` bytes are used beside, none by default.
    """
    core = cores().get(name)
    board = boards().get(core.default_board if core else name)
    if board is None:
        raise _unknown(name)
    vectors = board.vectors.length if board.vectors else 0
    fast_bytes = _fast_limit(name, board, fast_sram)
    board = msgspec.structs.replace(board, ram=board.slow_ram) if fast_bytes else board
    return Target(
        name=name,
        core=core or cores()[board.core],
        board=board,
        sram_bytes=_limit(name, "SRAM", sram, board.ram.length, LIMIT_GRANULE),
        flash_bytes=_limit(
            name, "Flash", flash, board.flash.length + vectors, LIMIT_GRANULE + vectors
        ),
        fast_sram_bytes=fast_bytes,
    )


def all_targets() -> tuple[Target, ...]:
    """Every board and then every core, by name."""
    return tuple(resolve(name) for name in (*boards(), *cores()))


def _fast_limit(name: str, board: Board, asked: int | None) -> int:
    if not asked:
        return 0
    if board.fast_ram is None:
        known = ", ".join(name for name, board in boards().items() if board.fast_ram)
        raise TargetError(
            "no fast memory beside the RAM is known of this board",
            where=name,
            found=asked,
            hint=f"boards with one are {known}",
        )
    return _limit(name, "fast SRAM", asked, board.fast_ram.length, LIMIT_GRANULE)


def _limit(name: str, memory: str, asked: int | None, available: int, least: int) -> int:
    if asked is None:
        return available
    if asked < least:
        raise TargetError(
            f"the {memory} limit is too small", where=name, limit=f"at least {least}", found=asked
        )
    if asked > available:
        raise TargetError(
            f"the {memory} limit is more than the board has",
            where=name,
            limit=available,
            found=asked,
            hint="choose a board with more memory, or a smaller limit",
        )
    return asked


def _round_down(length: int) -> int:
    return length - length % LIMIT_GRANULE


def _unknown(name: str) -> TargetError:
    known = (*boards(), *cores())
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else ""
    return TargetError(
        f"unknown target {name!r}; known are {', '.join(known)}", where="target", hint=hint
    )
