"""What firmware is built for: a core on a board, under hard limits of SRAM and Flash."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Board, Core, Memory, boards, cores

# What every memory protection unit here can enforce; linker and MPU use the same rounded limit.
LIMIT_GRANULE = 32


@dataclass(frozen=True)
class Target:
    """A core on a board, and the bytes that firmware may use of it.

    `sram_bytes` and `flash_bytes` are the limits as asked for. The linker script and the memory
    protection unit enforce them rounded down to a multiple of `LIMIT_GRANULE`.
    """

    name: str
    core: Core
    board: Board
    sram_bytes: int
    flash_bytes: int

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
    def flash(self) -> Memory:
        """The Flash that firmware may use, without a separate memory for vectors."""
        vectors = self.board.vectors.length if self.board.vectors else 0
        return Memory(self.board.flash.origin, _round_down(self.flash_bytes - vectors))


def resolve(name: str, sram: int | None = None, flash: int | None = None) -> Target:
    """The target of this name: a board, or a core, which stands for its emulator board.

    `sram` and `flash` are hard limits in bytes; the default is all that the board has.
    """
    core = cores().get(name)
    board = boards().get(core.default_board if core else name)
    if board is None:
        raise _unknown(name)
    vectors = board.vectors.length if board.vectors else 0
    return Target(
        name=name,
        core=core or cores()[board.core],
        board=board,
        sram_bytes=_limit(name, "SRAM", sram, board.ram.length, LIMIT_GRANULE),
        flash_bytes=_limit(
            name, "Flash", flash, board.flash.length + vectors, LIMIT_GRANULE + vectors
        ),
    )


def all_targets() -> tuple[Target, ...]:
    """Every board and then every core, by name."""
    return tuple(resolve(name) for name in (*boards(), *cores()))


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
