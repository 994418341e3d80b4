"""The measurement server on the emulator: it does as asked, whatever its subjects do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_tiny.errors import HangError, TargetError
from tvm_tiny.targets.elf import read_functions
from tvm_tiny.targets.measurement.emulator import EmulatedServer
from tvm_tiny.targets.measurement.layout import ServerLayout, server_layout
from tvm_tiny.targets.measurement.protocol import Request
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.targets.toolchain import find_arm_compiler, run_tool

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
BYTES = 64
# r0 is the argument; the count is 1 + 10 * 3 + 1
SOURCE = """\
.syntax unified
.thumb
.macro function name
.global \\name
.type \\name, %function
.thumb_func
\\name:
.endm
function square
    movs r1, #10
1:  strb r1, [r0, r1]
    subs r1, #1
    bne 1b
    bx lr
.size square, . - square
function crash
    udf #1
.size crash, . - crash
function hang
    b hang
.size hang, . - hang
function sleep
    wfi
    b sleep
.size sleep, . - sleep
"""


def loaded(target: Target, folder: Path) -> tuple[bytes, dict[str, int]]:
    """Return code for the server, and the addresses of its functions."""
    origin = server_layout(target).code.origin
    (folder / "code.s").write_text(SOURCE)
    (folder / "code.ld").write_text(f"SECTIONS {{ . = {origin:#x}; .text : {{ *(.text) }} }}")
    flags = (*target.compiler_flags, "-nostdlib", "-Tcode.ld", "-Wl,-e,0")
    run_tool([find_arm_compiler(), *flags, "code.s", "-o", "code.elf"], folder, "code")
    copy = ["arm-none-eabi-objcopy", "-O", "binary", "code.elf", "code.bin"]
    run_tool(copy, folder, "code")
    functions = {f.name: f.low | 1 for f in read_functions(folder / "code.elf")}
    return (folder / "code.bin").read_bytes(), functions


def request(layout: ServerLayout, code: bytes, entry: int) -> Request:
    """Return a request to call a function on a few bytes."""
    origin = layout.data.origin
    writes = [(layout.code.origin, code), (origin, bytes(BYTES))]
    regions = layout.regions(layout.end_of_data(BYTES))
    return Request(writes, entry, origin, origin, BYTES, regions)


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_server_goes_on(core: str, tmp_path: Path) -> None:
    target = resolve(core)
    code, functions = loaded(target, tmp_path)
    with EmulatedServer(target, instruction_limit=100_000, timeout_s=1) as server:
        layout = server.server.layout

        def check_square() -> None:
            answer = server.ask(request(layout, code, functions["square"]))
            assert answer.data == bytes(range(11)) + bytes(BYTES - 11) and answer.fault is None
            assert answer.counts is not None and answer.counts.instructions == 1 + 10 * 3 + 1

        check_square()
        crash = server.ask(request(layout, code, functions["crash"]))
        assert crash.fault is not None and crash.fault.name == "UsageFault"
        assert crash.fault.pc == functions["crash"] & ~1
        check_square()
        for name in ("hang", "sleep"):
            with pytest.raises(HangError, match="did not end within"):
                server.ask(request(layout, code, functions[name]))
            assert not server.is_running
            check_square()
        with pytest.raises(TargetError, match="refused"):
            server.ask(Request([(layout.server.origin, b"1234")]))
        check_square()


@pytest.mark.parametrize("core", CORES)
def test_protection_covers_the_data_and_no_more(core: str) -> None:
    layout = server_layout(resolve(core))
    for size in (1, 1000, 12345, 777_777, 1_500_000):
        end = layout.end_of_data(size)
        assert layout.data.origin + size <= end <= layout.data.end
        assert end < layout.data.origin + size * 1.1 + 64
        assert len(layout.regions(end)) <= 8
    with pytest.raises(TargetError, match="no room"):
        layout.end_of_data(layout.data.length + 1)


def test_memories_of_the_server_do_not_overlap() -> None:
    for name in (*CORES, "netduinoplus2", "nucleo-l4r5zi"):
        layout = server_layout(resolve(name))
        assert layout.server.end <= layout.data.origin < layout.data.end == layout.code.origin
        assert layout.code.end <= resolve(name).board.ram.end


def test_cores_without_protection_have_no_server() -> None:
    with pytest.raises(TargetError, match="memory protection unit"):
        server_layout(resolve("cortex-m0"))


def test_boards_without_emulator_have_no_emulated_server() -> None:
    with pytest.raises(TargetError, match="no emulator"):
        EmulatedServer(resolve("nucleo-l4r5zi"))
