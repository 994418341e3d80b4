from __future__ import annotations

import pytest

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Board, Core, boards, cores, decode

CORE = """
name = "c1"
architecture = "armv7-m"
compiler_flags = ["-mthumb"]
features = ["dsp"]
mpu = "v7m"
cycle_model = ""
default_board = "b1"
"""

BOARD = """
name = "b1"
core = "c1"
clock_hz = 1
transport = "none"
stack_bytes = 1024
flash = {origin = 0, length = 65536}
ram = {origin = 0x20000000, length = 16384}
"""


@pytest.mark.parametrize("name", cores())
def test_core_file_has_its_name_and_a_default_board(name: str) -> None:
    core = cores()[name]
    assert core.name == name
    assert boards()[core.default_board].emulator is not None
    assert core.has("fpu") == ("-mfloat-abi=hard" in core.compiler_flags)


@pytest.mark.parametrize("name", boards())
def test_board_file_has_its_name_and_a_known_core(name: str) -> None:
    board = boards()[name]
    assert board.name == name
    assert board.core in cores()
    assert board.flash.end <= board.ram.origin or board.ram.end <= board.flash.origin


def test_every_core_is_emulated_by_a_board_of_its_own_choice() -> None:
    emulated = {name for name, board in boards().items() if board.transport == "qemu"}
    assert {core.default_board for core in cores().values()} <= emulated
    assert {"cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"} <= set(cores())


# change to a good description, what the error says
BAD_CORES = [
    ('mpu = "v7m"', 'mpu = "v9"', "mpu 'v9' is not one of none, v7m, v8m"),
    ('["dsp"]', '["dps"]', "feature 'dps' is not one of dsp, fpu, long, mve, unaligned"),
    ('name = "c1"', 'name = "c1"\nspeed = 1', "unknown field `speed`.*\n.*the fields are name,"),
]

BAD_BOARDS = [
    ('"none"', '"carrier pigeon"', "transport 'carrier pigeon' is not one of none, qemu"),
    ('"none"', '"qemu"', r"an \[emulator\] belongs to transport 'qemu'"),
    ("clock_hz = 1", "clock_hz = 0", "clock_hz must be positive"),
    ("stack_bytes = 1024", "stack_bytes = 1020", "positive multiple of 8"),
    ("stack_bytes = 1024", "stack_bytes = 16384", "the stack leaves no RAM"),
    ("length = 16384", "length = 0xffffffff", "inside the 32-bit address space"),
    ("length = 16384", "length = 0", "inside the 32-bit address space"),
    ("clock_hz = 1", "clock_hz = 'x'", "Expected `int`, got `str`"),
    ("clock_hz = 1", "", "missing required field `clock_hz`"),
]


def test_descriptions_under_test_are_good() -> None:
    assert decode(CORE, Core, "c1").mpu == "v7m"
    assert decode(BOARD, Board, "b1").ram.end == 0x20004000


@pytest.mark.parametrize(("good", "bad", "message"), BAD_CORES)
def test_bad_core_is_an_error(good: str, bad: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        decode(CORE.replace(good, bad), Core, "c1.toml")


@pytest.mark.parametrize(("good", "bad", "message"), BAD_BOARDS)
def test_bad_board_is_an_error(good: str, bad: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        decode(BOARD.replace(good, bad), Board, "b1.toml")
