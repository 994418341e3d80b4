"""Register values for the memory protection units: Flash read-only, RAM up to its limit, no more.

Armv7-M regions are powers of two, aligned to their size, with eight equal subregions that can be
switched off (from 256 bytes on). Armv8-M regions have a base and a limit of 32-byte granularity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Memory
from tvm_tiny.targets.target import LIMIT_GRANULE, Target

V7M_REGIONS = 8
V7M_FAST_REGIONS = 2  # of them, at the most, for fast memory
_SMALLEST_LOG2 = 5
_SMALLEST_WITH_SUBREGIONS_LOG2 = 8

_V7M_ENABLE = 1
_V7M_EXECUTE_NEVER = 1 << 28
_V7M_READ_WRITE = 3 << 24
_V7M_READ_ONLY = 6 << 24
# Normal write-back memory, not shareable: the cores with a cache do not cache shareable memory.
_V7M_NORMAL = 3 << 16

_V8M_ENABLE = 1
_V8M_EXECUTE_NEVER = 1
_V8M_READ_WRITE = 1 << 1
_V8M_READ_ONLY = 3 << 1


@dataclass(frozen=True)
class Block:
    """A naturally aligned Armv7-M region of 2**log2 bytes, of which some subregions are on."""

    base: int
    log2: int
    first: int = 0
    last: int = 8

    @property
    def start(self) -> int:
        """The first address that the region covers."""
        return self.base + (self.first << self.log2 >> 3)

    @property
    def end(self) -> int:
        """The first address behind what the region covers."""
        return self.base + (self.last << self.log2 >> 3)

    @property
    def disabled(self) -> int:
        """The subregion disable bits."""
        return 0xFF & ~((1 << self.last) - (1 << self.first))


@dataclass(frozen=True)
class Region:
    """The two register values of one region, and what it is for."""

    base: int
    attributes: int
    comment: str


def cover(start: int, end: int, most: int = V7M_REGIONS) -> tuple[Block, ...]:
    """Disjoint Armv7-M blocks that cover [start, end) exactly, from the start on.

    With more than `most` blocks needed, the cover stops early: a little less is allowed, never
    more. Both addresses must be multiples of 32.
    """
    blocks: list[Block] = []
    while start < end and len(blocks) < most:
        blocks.append(max(_candidates(start, end), key=lambda block: block.end))
        start = blocks[-1].end
    return tuple(blocks)


def _candidates(start: int, end: int) -> Iterator[Block]:
    for log2 in range(_SMALLEST_LOG2, 33):
        base = start >> log2 << log2
        if log2 < _SMALLEST_WITH_SUBREGIONS_LOG2:
            if base == start and base + (1 << log2) <= end:
                yield Block(base, log2)
            continue
        first, misaligned = divmod((start - base) << 3, 1 << log2)
        last = min(8, ((end - base) << 3) >> log2)
        if not misaligned and last > first:
            yield Block(base, log2, first, last)


def enforceable_ram(target: Target) -> Memory:
    """The target's RAM, shortened to what its protection unit can describe."""
    if target.core.mpu != "v7m":
        return target.ram
    return Memory(target.ram.origin, _v7m_ram(target)[-1].end - target.ram.origin)


def enforceable_fast_ram(target: Target) -> Memory | None:
    """The target's fast memory, shortened in the same way."""
    memory = target.fast_ram
    if memory is None or target.core.mpu != "v7m":
        return memory
    return Memory(memory.origin, _v7m_fast(target)[-1].end - memory.origin)


def regions(target: Target) -> tuple[Region, ...]:
    """What the target's protection unit is set to; none for a core without one."""
    return {"none": _no_regions, "v7m": _v7m_regions, "v8m": _v8m_regions}[target.core.mpu](target)


def region_v7m(block: Block, *, is_code: bool) -> Region:
    """One region of Armv7-M for code, which is read-only, or for data, which is no code."""
    access = _V7M_READ_ONLY if is_code else _V7M_READ_WRITE | _V7M_EXECUTE_NEVER
    return _v7m_region(block, access, "code" if is_code else "RAM")


def region_v8m(memory: Memory, *, is_code: bool) -> Region:
    """The same of Armv8-M."""
    access = _V8M_READ_ONLY if is_code else _V8M_READ_WRITE | _V8M_EXECUTE_NEVER
    return _v8m_region(memory, access, "code" if is_code else "RAM")


def _no_regions(target: Target) -> tuple[Region, ...]:
    return ()


def _code_memories(target: Target) -> Iterator[Memory]:
    # All of the Flash: the linker keeps its limit, and fewer regions are needed.
    yield target.board.flash
    if target.board.vectors:
        yield target.board.vectors


def _v7m_code(target: Target) -> tuple[Block, ...]:
    blocks = tuple(
        block for memory in _code_memories(target) for block in cover(memory.origin, memory.end)
    )
    if len(blocks) >= V7M_REGIONS - V7M_FAST_REGIONS * bool(target.fast_ram):
        raise TargetError(
            "the Flash needs too many regions of the memory protection unit",
            where=target.name,
            limit=V7M_REGIONS - 1,
            found=len(blocks),
        )
    return blocks


def _v7m_fast(target: Target) -> tuple[Block, ...]:
    memory = target.fast_ram
    return cover(memory.origin, memory.end, V7M_FAST_REGIONS) if memory else ()


def _v7m_ram(target: Target) -> tuple[Block, ...]:
    others = len(_v7m_code(target)) + len(_v7m_fast(target))
    return cover(target.ram.origin, target.ram.end, V7M_REGIONS - others)


def _v7m_regions(target: Target) -> tuple[Region, ...]:
    data = _V7M_READ_WRITE | _V7M_EXECUTE_NEVER
    return (
        *(_v7m_region(block, _V7M_READ_ONLY, "code") for block in _v7m_code(target)),
        *(_v7m_region(block, data, "fast RAM") for block in _v7m_fast(target)),
        *(_v7m_region(block, data, "RAM") for block in _v7m_ram(target)),
    )


def _v7m_region(block: Block, access: int, use: str) -> Region:
    size = (block.log2 - 1) << 1
    attributes = access | _V7M_NORMAL | block.disabled << 8 | size | _V7M_ENABLE
    return Region(block.base, attributes, _comment(use, block.start, block.end))


def _v8m_regions(target: Target) -> tuple[Region, ...]:
    data, fast = _V8M_READ_WRITE | _V8M_EXECUTE_NEVER, target.fast_ram
    return (
        *(_v8m_region(memory, _V8M_READ_ONLY, "code") for memory in _code_memories(target)),
        *((_v8m_region(fast, data, "fast RAM"),) if fast else ()),
        _v8m_region(target.ram, data, "RAM"),
    )


def _v8m_region(memory: Memory, access: int, use: str) -> Region:
    last_granule = memory.end - LIMIT_GRANULE
    return Region(
        memory.origin | access,
        last_granule | _V8M_ENABLE,
        _comment(use, memory.origin, memory.end),
    )


def _comment(use: str, start: int, end: int) -> str:
    return f"{use}: {start:#010x} to {end - 1:#010x}"
