from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets import toy
from tvm_tiny.errors import FaultError, HangError, MissingToolError, TargetError
from tvm_tiny.targets import qemu
from tvm_tiny.targets.board import boards
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
    assert owners["toy_layer_00_a"] > 64 // 16 and owners["toy_run"] > 5


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
@pytest.mark.parametrize("recursion", ["toy_layer_01_b(in, out); toy_sink++;"])
@pytest.mark.parametrize("name", EMULATED)
def test_endless_recursion_is_a_stack_overflow(name: str, recursion: str, tmp_path: Path) -> None:
    target = resolve(name)
    bad = build_image(
        toy.firmware_sources(recursion),
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


@pytest.mark.qemu
def test_return_code_of_the_model_ends_the_run(tmp_path: Path) -> None:
    target = resolve("mps2-an386")
    sources = toy.firmware_sources()
    sources["toy.c"] = sources["toy.c"].replace("return 0;", "return ctx->arena[0] ? 7 : 0;")
    bad = build_image(sources, toy.MODEL, target, tmp_path)
    result = qemu.run(bad.elf, target, toy.INPUT)
    assert (result.return_code, result.samples) == (7, 1)
    assert result.output_bytes == toy.expected(toy.SAMPLES[:1])


def test_board_without_emulator_is_an_error() -> None:
    with pytest.raises(TargetError, match="has no emulator"):
        qemu.run(Path("firmware.elf"), resolve("nucleo-l4r5zi"), b"")


def test_missing_emulator_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="apt-get install qemu-system-arm"):
        qemu.run(Path("firmware.elf"), resolve("mps2-an386"), b"")
