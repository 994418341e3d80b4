"""Fast memory beside the RAM: boards' data, limits, and what keeps them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.targets import toy
from tests.targets.test_linker import memories
from tvm_tiny.errors import FaultError, TargetError
from tvm_tiny.targets import qemu
from tvm_tiny.targets.board import Memory, boards
from tvm_tiny.targets.image import build_image
from tvm_tiny.targets.linker import largest_fast_arena, layout_for, linker_script
from tvm_tiny.targets.mpu import enforceable_fast_ram, enforceable_ram, regions
from tvm_tiny.targets.target import resolve

KB = 1 << 10
WITH_FAST_RAM = [name for name, board in boards().items() if board.fast_ram]
EMULATED = ["mps2-an500", "mps3-an547"]


def test_nothing_of_it_is_used_unasked() -> None:
    target = resolve("stm32f746g-disco")
    assert target.fast_ram is None and largest_fast_arena(target) == 0
    assert target.ram == Memory(0x20000000, 320 * KB)
    assert resolve("stm32f746g-disco", fast_sram=0) == target


def test_it_lies_beside_the_ram() -> None:
    target = resolve("nucleo-h743zi", fast_sram=96 * KB + 5)
    assert target.fast_ram == Memory(0x20000000, 96 * KB)
    assert target.ram == Memory(0x24000000, 512 * KB)
    assert memories(linker_script(layout_for(target)))["FAST"] == (0x20000000, 96 * KB)


def test_ram_that_begins_with_it_is_the_rest() -> None:
    target = resolve("stm32f746g-disco", fast_sram=64 * KB)
    assert target.ram == Memory(0x20010000, 256 * KB)
    # what overflows the stack at the bottom of the RAM must not get there
    assert target.fast_ram == Memory(0x20000000, 64 * KB - 32)
    fast = enforceable_fast_ram(target)
    assert fast is not None and 62 * KB < fast.length < 64 * KB


@pytest.mark.parametrize("name", WITH_FAST_RAM)
def test_both_are_enforceable(name: str) -> None:
    board = boards()[name]
    assert board.fast_ram is not None
    target = resolve(name, fast_sram=board.fast_ram.length)
    assert enforceable_ram(target) == target.ram
    assert largest_fast_arena(target) >= board.fast_ram.length * 0.98
    assert len(regions(target)) <= 8


def test_a_board_without_it_is_an_error_that_names_others() -> None:
    with pytest.raises(TargetError, match=r"no fast memory .*\n.*\n.*nucleo-h743zi") as caught:
        resolve("microbit", fast_sram=1024)
    assert caught.value.found == 1024


@pytest.mark.parametrize("asked", [-1, 31, 128 * KB + 1])
def test_limits_are_checked(asked: int) -> None:
    with pytest.raises(TargetError, match="fast SRAM limit is"):
        resolve("nucleo-h743zi", fast_sram=asked)


@pytest.mark.parametrize(
    "fast", [Memory(0x20001000, 4096), Memory(0x1FFFF000, 8192), Memory(0x20000000, 0xA0000)]
)
def test_it_lies_apart_or_at_the_start(fast: Memory) -> None:
    board = boards()["nucleo-l4r5zi"]
    fields = {name: getattr(board, name) for name in board.__struct_fields__}
    with pytest.raises(TargetError, match="fast_ram"):
        type(board)(**(fields | {"fast_ram": fast}))
    assert msgspec.structs.replace(board, fast_ram=Memory(0, 4096)).slow_ram == board.ram


@pytest.mark.qemu
@pytest.mark.parametrize("limit", [8192, 16384 - 96])
@pytest.mark.parametrize("name", EMULATED)
def test_the_limit_is_exact(name: str, limit: int, tmp_path: Path) -> None:
    target = resolve(name, fast_sram=limit)
    memory = enforceable_fast_ram(target)
    assert memory is not None
    inside = toy.firmware_sources(f"*(volatile uint8_t *){memory.end - 1:#x}u = 1;")
    outside = toy.firmware_sources(f"*(volatile uint8_t *){memory.end:#x}u = 1;")
    good = build_image(inside, toy.MODEL, target, tmp_path / "inside")
    assert qemu.run(good.elf, target, toy.INPUT).output_bytes == toy.expected()
    bad = build_image(outside, toy.MODEL, target, tmp_path / "outside")
    with pytest.raises(FaultError, match="MemManage fault at pc 0x") as caught:
        qemu.run(bad.elf, target, toy.INPUT)
    assert caught.value.where == "toy_layer_01_b"
    if memory == target.fast_ram:
        assert f"outside of the fast SRAM limit of {limit} bytes" in str(caught.value)
