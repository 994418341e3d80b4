from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.targets import toy
from tvm_tiny.errors import FaultError, HangError, MissingToolError, TargetError
from tvm_tiny.targets import qemu
from tvm_tiny.targets.board import boards
from tvm_tiny.targets.elf import symbolise
from tvm_tiny.targets.image import Image, build_image
from tvm_tiny.targets.profile import RUN
from tvm_tiny.targets.raw_run import instructions_by_owner
from tvm_tiny.targets.target import resolve

EMULATED = [name for name, board in boards().items() if board.emulator]
PROTECTED = ["mps2-an386", "mps2-an505"]


@pytest.fixture(scope="module", params=EMULATED)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    target = resolve(request.param)
    return build_image(toy.firmware_sources(), toy.MODEL, target, tmp_path_factory.mktemp("toy"))


@pytest.mark.qemu
def test_outputs_are_exact(image: Image) -> None:
    result = qemu.run(image.elf, image.target, toy.INPUT)
    assert (result.return_code, result.samples) == (0, 3)
    assert result.output_bytes == toy.expected()
    assert result.blocks == ()


@pytest.mark.qemu
def test_stack_peak_is_that_of_the_deepest_layer(image: Image) -> None:
    result = qemu.run(image.elf, image.target, toy.INPUT)
    assert result.stack_bytes is not None
    assert 64 < result.stack_bytes < 200


@pytest.mark.qemu
def test_counts_are_exact_and_repeatable(image: Image) -> None:
    first, second = (qemu.run(image.elf, image.target, toy.INPUT, image.profile) for _ in range(2))
    assert first == second
    assert first.output_bytes == toy.expected()
    owners = {
        image.profile.name(owner): instructions
        for owner, instructions in instructions_by_owner(first.blocks).items()
    }
    assert list(image.profile.owners) == [
        "harness",
        "toy_run",
        "toy_layer_00_a",
        "toy_layer_01_b",
        "toy_layer_02_count",
    ]
    assert owners["toy_layer_02_count"] == toy.ASSEMBLY_INSTRUCTIONS
    assert "harness" not in owners
    total = sum(
        entry.count * block.instructions for block in first.blocks for entry in block.counts
    )
    assert sum(owners.values()) == total


@pytest.mark.qemu
def test_counts_equal_those_of_a_single_stepped_run(image: Image, tmp_path: Path) -> None:
    (tmp_path / "input.bin").write_bytes(toy.SAMPLES[0])
    emulator = image.target.board.emulator
    assert emulator is not None
    command = f"qemu-system-arm -machine {emulator.machine} -display none -monitor none "
    command += "-serial none -semihosting-config enable=on,target=native -singlestep "
    command += f"-d exec,nochain -D log.txt -kernel {image.elf}"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    trace = re.findall(r"^Trace .*?/([0-9a-f]+)/", (tmp_path / "log.txt").read_text(), re.M)
    stepped = Counter(symbolise(image.functions, int(address, 16)) for address in trace)

    result = qemu.run(image.elf, image.target, toy.SAMPLES[0], image.profile)
    counted: Counter[str] = Counter()
    for block in result.blocks:
        executed = sum(entry.count for entry in block.counts)
        counted[symbolise(image.functions, block.address)] += executed * block.instructions
    assert counted["toy_layer_00_a"] > 64
    # memset and the like might also serve the harness
    assert {name: stepped[name] for name in counted if name.startswith("toy_")} == {
        name: count for name, count in counted.items() if name.startswith("toy_")
    }


@pytest.mark.qemu
def test_counts_do_not_depend_on_the_number_of_samples(image: Image) -> None:
    one = qemu.run(image.elf, image.target, toy.SAMPLES[0], image.profile)
    three = qemu.run(image.elf, image.target, toy.INPUT, image.profile)
    assert one.blocks == three.blocks


@pytest.mark.qemu
def test_branches_are_counted_as_taken_or_not(image: Image) -> None:
    result = qemu.run(image.elf, image.target, toy.INPUT, image.profile)
    owner = image.profile.owners.index("toy_layer_02_count")
    counts = [
        (block.instructions, entry.count, entry.fall_through)
        for block in result.blocks
        for entry in block.counts
        if entry.owner == owner
    ]
    # movs subs bne: taken; subs bne: eight times taken, then not; bx
    assert sorted(counts) == [(1, 1, 0), (2, 9, 1), (3, 1, 0)]


@pytest.mark.qemu
def test_a_library_function_belongs_to_its_caller(image: Image) -> None:
    result = qemu.run(image.elf, image.target, toy.INPUT, image.profile)
    listed = [(low, high) for owner, low, high in image.profile.ranges if owner >= RUN]
    helpers = [
        entry
        for block in result.blocks
        for entry in block.counts
        if not any(low <= block.address < high for low, high in listed)
    ]
    layer = image.profile.owners.index("toy_layer_01_b")
    assert {entry.owner for entry in helpers} == {layer}  # memmove


@pytest.mark.qemu
@pytest.mark.parametrize("limit", [8192, 16384 - 96])
@pytest.mark.parametrize("name", PROTECTED)
def test_sram_limit_is_exact(name: str, limit: int, tmp_path: Path) -> None:
    target = resolve(name, sram=limit)
    last = target.board.ram.origin + limit - 1
    inside = toy.firmware_sources(f"*(volatile uint8_t *){last:#x}u = 1;")
    outside = toy.firmware_sources(f"*(volatile uint8_t *){last + 1:#x}u = 1;")
    good = build_image(inside, toy.MODEL, target, tmp_path / "inside")
    assert qemu.run(good.elf, target, toy.INPUT).output_bytes == toy.expected()
    bad = build_image(outside, toy.MODEL, target, tmp_path / "outside")
    with pytest.raises(FaultError, match=f"outside of the SRAM limit of {limit} bytes") as caught:
        qemu.run(bad.elf, target, toy.INPUT)
    assert caught.value.where == "toy_layer_01_b"
    assert "MemManage fault at pc 0x" in caught.value.what
    assert caught.value.what.endswith(f"address {last + 1:#010x}")


# C of the fault, what the error says
FAULTS = {
    "flash": (
        "*(volatile uint32_t *)((uintptr_t)toy_layer_00_a & ~3u) = 0;",
        "write to the Flash, which is read-only",
    ),
    "stack": (
        "volatile uint8_t big[9000]; for (int i = 8999; i >= 0; i--) big[i] = 1; out[0] = big[0];",
        "stack overflow",
    ),
    "undefined": ('__asm__ volatile("udf #1");', "UsageFault at pc .*undefined instruction"),
    "unmapped": ("*(volatile uint32_t *)0xa1234560u = 1;", "no memory at this address"),
    "divide": ("out[0] = (uint8_t)(7 / (int)toy_sink);", "division by zero"),
    "library": ("memmove((void *)0xa1234560u, in, 64);", "in memmove: data access"),
    "data-as-code": (
        "((void (*)(void))((uintptr_t)out | 1u))();",
        "instruction fetch from memory that holds no code",
    ),
}


@pytest.mark.qemu
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PROTECTED)
def test_fault_names_the_layer(name: str, fault: str, tmp_path: Path) -> None:
    statement, message = FAULTS[fault]
    target = resolve(name, sram=65536)
    bad = build_image(toy.firmware_sources(statement), toy.MODEL, target, tmp_path)
    with pytest.raises(FaultError, match=message) as caught:
        qemu.run(bad.elf, target, toy.INPUT)
    assert caught.value.where == "toy_layer_01_b"


@pytest.mark.qemu
def test_fault_in_a_later_sample_names_the_layer(tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    statement = 'if (in[0] != 3) { __asm__ volatile("udf #1"); }'
    bad = build_image(toy.firmware_sources(statement), toy.MODEL, target, tmp_path)
    for profile in (None, bad.profile):
        with pytest.raises(FaultError, match="in toy_layer_01_b: undefined") as caught:
            qemu.run(bad.elf, target, toy.INPUT, profile)
        assert caught.value.where == "toy_layer_01_b"


@pytest.mark.qemu
@pytest.mark.parametrize("name", EMULATED)
def test_endless_recursion_is_a_stack_overflow(name: str, tmp_path: Path) -> None:
    target = resolve(name)
    bad = build_image(
        toy.firmware_sources("toy_layer_01_b(in, out); toy_sink++;"),
        toy.MODEL,
        target,
        tmp_path,
        file_flags={"layers.c": ["-Wno-infinite-recursion"]},
    )
    with pytest.raises(FaultError) as caught:
        qemu.run(bad.elf, target, toy.INPUT)
    assert caught.value.where == "toy_layer_01_b"
    assert "stack overflow" in caught.value.hint


@pytest.mark.qemu
@pytest.mark.parametrize("profiled", [False, True])
def test_endless_loop_is_a_hang(profiled: bool, tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    bad = build_image(toy.firmware_sources("for (;;) { toy_sink++; }"), toy.MODEL, target, tmp_path)
    profile = bad.profile if profiled else None
    with pytest.raises(HangError, match="did not end within 1 s") as caught:
        qemu.run(bad.elf, target, toy.INPUT, profile, timeout_s=1)
    assert caught.value.where == ("toy_layer_01_b" if profiled else "firmware.elf")


# C that needs a feature of the core and changes no output
FEATURES = {
    "fpu": "out[0] = (uint8_t)((float)out[0] * (float)(toy_sink + 1) + 0.25f);",
    "mve": '__asm__ volatile("vmov.i32 q0, #7" : : : "q0");',
    "long": '__asm__ volatile("smlal r0, r1, r2, r3" : : : "r0", "r1");',
    "dsp": '__asm__ volatile("smuad r0, r0, r0" : : : "r0");',
    "unaligned": "toy_sink = *(const volatile uint32_t *)(uintptr_t)(in + 1) & 0u;",
}


@pytest.mark.qemu
def test_features_of_the_core_work(image: Image, tmp_path: Path) -> None:
    statements = " ".join(FEATURES[feature] for feature in image.target.core.features)
    firmware = build_image(toy.firmware_sources(statements), toy.MODEL, image.target, tmp_path)
    assert qemu.run(firmware.elf, image.target, toy.INPUT).output_bytes == toy.expected()


@pytest.mark.qemu
def test_return_code_of_the_model_ends_the_run(tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    sources = toy.firmware_sources()
    sources["toy.c"] = sources["toy.c"].replace("return 0;", "return ctx->arena[0] ? 7 : 0;")
    bad = build_image(sources, toy.MODEL, target, tmp_path)
    result = qemu.run(bad.elf, target, toy.INPUT)
    assert (result.return_code, result.samples) == (7, 1)
    assert result.output_bytes == toy.expected(toy.SAMPLES[:1])


# A function that starts a page of the emulator and ends in the next, all in 16-bit instructions.
PAGES_SOURCE = """\
    .syntax unified
    .section .text.toy_layer_02_count, "ax", %progbits
    .global toy_layer_02_count
    .type toy_layer_02_count, %function
    .balign 1024
    .thumb_func
toy_layer_02_count:
    .rept 600
    nop
    .endr
    bx lr
    .size toy_layer_02_count, . - toy_layer_02_count
"""


@pytest.mark.qemu
def test_blocks_at_the_end_of_a_page_have_their_true_size(tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    sources = toy.firmware_sources() | {"count.S": PAGES_SOURCE}
    image = build_image(sources, toy.MODEL, target, tmp_path)
    result = qemu.run(image.elf, target, toy.INPUT, image.profile)
    owner = image.profile.owners.index("toy_layer_02_count")
    blocks = [block for block in result.blocks if block.counts[0].owner == owner]
    assert sum(block.instructions for block in blocks) == 601
    assert all(block.size == 2 * block.instructions for block in blocks)
    assert [block.counts[0].fall_through for block in blocks] == [1] * (len(blocks) - 1) + [0]


@pytest.mark.qemu
def test_lock_up_of_the_processor_is_a_fault(tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    no_vectors = "*(volatile uint32_t *)0xe000ed08u = 0xf0000000u; "
    statement = no_vectors + '__asm__ volatile("udf #1");'
    image = build_image(toy.firmware_sources(statement), toy.MODEL, target, tmp_path)
    with pytest.raises(FaultError, match="the emulator ended with code -6") as caught:
        qemu.run(image.elf, target, toy.INPUT)
    assert "Lockup" in caught.value.hint


def test_emulator_that_refuses_the_plugin_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    emulator = tmp_path / "qemu-system-arm"
    emulator.write_text("#!/bin/sh\necho plugin requires API version 1 >&2\nexit 1\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(MissingToolError, match="cannot load the counting plugin"):
        qemu.run(Path("firmware.elf"), resolve("mps2-an386"), b"")


def test_board_without_emulator_is_an_error() -> None:
    with pytest.raises(TargetError, match="has no emulator"):
        qemu.run(Path("firmware.elf"), resolve("nucleo-l4r5zi"), b"")


def test_missing_emulator_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="apt-get install qemu-system-arm"):
        qemu.run(Path("firmware.elf"), resolve("mps2-an386"), b"")
