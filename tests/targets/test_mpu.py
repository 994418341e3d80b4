from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Memory, boards
from tvm_tiny.targets.mpu import Block, cover, enforceable_ram, regions
from tvm_tiny.targets.target import Target, resolve

granules = st.integers(1, (8 << 20) // 32)


@given(st.integers(0, 1 << 20), granules)
def test_cover_is_exact_disjoint_and_made_of_legal_blocks(first: int, length: int) -> None:
    start, end = 0x20000000 + 32 * first, 0x20000000 + 32 * (first + length)
    blocks = cover(start, end, most=64)
    edges = [(block.start, block.end) for block in blocks]
    assert edges[0][0] == start and edges[-1][1] == end
    assert all(left[1] == right[0] for left, right in pairwise(edges))
    for block in blocks:
        assert block.base % (1 << block.log2) == 0
        assert 5 <= block.log2 <= 32
        assert block.log2 >= 8 or (block.first, block.last) == (0, 8)


@given(granules)
def test_seven_regions_cover_any_length_from_an_aligned_origin(length: int) -> None:
    assert cover(0x20000000, 0x20000000 + 32 * length, most=7)[-1].end == 0x20000000 + 32 * length


@given(st.integers(0, 1 << 20), granules, st.integers(1, 4))
def test_a_short_cover_allows_less_never_more(first: int, length: int, most: int) -> None:
    start, end = 32 * first, 32 * (first + length)
    blocks = cover(start, end, most)
    assert len(blocks) <= most
    assert blocks[0].start == start
    assert start < blocks[-1].end <= end


# length from 0x20000000, blocks
COVERS = [
    (32, [Block(0x20000000, 5)]),
    (640 << 10, [Block(0x20000000, 20, 0, 5)]),
    (256, [Block(0x20000000, 8)]),
    (96 * 1024, [Block(0x20000000, 17, 0, 6)]),
    (8192 + 32, [Block(0x20000000, 13), Block(0x20002000, 5)]),
]


@pytest.mark.parametrize(("length", "blocks"), COVERS)
def test_cover_of_known_lengths(length: int, blocks: list[Block]) -> None:
    found = cover(0x20000000, 0x20000000 + length)
    assert [(block.start, block.end) for block in found] == [
        (block.start, block.end) for block in blocks
    ]


def test_v7m_register_values() -> None:
    flash, ram = regions(resolve("nucleo-l4r5zi"))
    # read-only, normal memory, 2 MB
    assert (flash.base, flash.attributes) == (0x08000000, 0x06030000 | 20 << 1 | 1)
    # never executed, read and write, five eighths of 1 MB
    assert (ram.base, ram.attributes) == (0x20000000, 0x13030000 | 0xE0 << 8 | 19 << 1 | 1)


def test_v8m_register_values() -> None:
    flash, ram = regions(resolve("mps2-an505", sram=65536))
    assert (flash.base, flash.attributes) == (0x10000006, 0x103FFFE1)
    assert (ram.base, ram.attributes) == (0x38000003, 0x3800FFE1)


def test_core_without_protection_has_no_regions() -> None:
    target = resolve("microbit", sram=8000)
    assert regions(target) == ()
    assert enforceable_ram(target).length == 8000


@pytest.mark.parametrize("name", boards())
def test_the_whole_ram_of_every_board_is_enforceable(name: str) -> None:
    target = resolve(name)
    assert enforceable_ram(target) == target.board.ram
    assert len(regions(target)) <= 8


def with_memories(flash: Memory, ram: Memory) -> Target:
    target = resolve("nucleo-l4r5zi")
    board = type(target.board)(
        name="odd",
        core=target.core.name,
        clock_hz=1,
        transport="none",
        stack_bytes=1024,
        flash=flash,
        ram=ram,
    )
    return dataclasses.replace(target, board=board, sram_bytes=ram.length)


def test_ram_that_needs_too_many_regions_is_cut() -> None:
    target = with_memories(Memory(0, 1 << 20), Memory(0x20000020, (1 << 24) - 64))
    ram = enforceable_ram(target)
    assert ram.origin == 0x20000020
    assert 0 < ram.length < target.ram.length


def test_flash_that_needs_too_many_regions_is_an_error() -> None:
    target = with_memories(Memory(0x20, (1 << 24) - 64), Memory(0x20000000, 65536))
    with pytest.raises(TargetError, match="Flash needs too many regions"):
        regions(target)
