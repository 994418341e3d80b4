from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.quick import quick_some
from tests.targets import toy
from tvm_tiny.errors import CompileError
from tvm_tiny.targets import qemu
from tvm_tiny.targets.board import boards, cores
from tvm_tiny.targets.elf import read_sections, size_of, symbolise
from tvm_tiny.targets.image import build_image
from tvm_tiny.targets.target import resolve


@quick_some("name", [*boards(), *cores()], 3)
def test_firmware_builds_for_every_target(name: str, tmp_path: Path) -> None:
    target = resolve(name)
    image = build_image(toy.firmware_sources(), toy.MODEL, target, tmp_path)
    sections = read_sections(image.elf)
    assert image.sizes.flash_weights_bytes == 64
    assert image.sizes.flash_bytes == sum(s.size for s in sections if s.in_file)
    assert image.sizes.flash_code_bytes - image.sizes.support_bytes < 600
    assert image.sizes.stack_bytes == target.board.stack_bytes + 256
    variables = size_of(sections, ".data") + size_of(sections, ".bss")
    assert image.sizes.sram_bytes == image.sizes.stack_bytes + variables
    assert 192 < variables < 250


def test_functions_have_ranges_and_addresses_have_names(tmp_path: Path) -> None:
    image = build_image(toy.firmware_sources(), toy.MODEL, resolve("cortex-m4"), tmp_path)
    by_name = {function.name: function for function in image.functions}
    count = by_name["toy_layer_02_count"]
    assert count.high - count.low == 8
    assert symbolise(image.functions, count.low + 2) == "toy_layer_02_count"
    assert symbolise(image.functions, count.low | 1) == "toy_layer_02_count"
    assert symbolise(image.functions, 0xF0000000) == ""


@pytest.mark.parametrize("name", ["microbit", "mps2-an386"])
def test_same_sources_give_the_same_bytes_without_paths(name: str, tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "another" / "place"
    images = [
        build_image(toy.firmware_sources(), toy.MODEL, resolve(name), folder).elf.read_bytes()
        for folder in folders
    ]
    assert images[0] == images[1]
    assert str(tmp_path).encode() not in images[0]


def test_optimization_is_the_callers(tmp_path: Path) -> None:
    target = resolve("cortex-m4")
    fast, small = (
        build_image(
            toy.firmware_sources(), toy.MODEL, target, tmp_path / level, optimization=[level]
        )
        for level in ("-O3", "-Os")
    )
    assert fast.sizes.flash_code_bytes > small.sizes.flash_code_bytes
    assert fast.sizes.support_bytes == small.sizes.support_bytes


@pytest.mark.qemu
def test_stack_size_is_the_callers(tmp_path: Path) -> None:
    statement = "volatile uint8_t big[6000]; for (int i = 0; i < 6000; i++) big[i] = 1;"
    target = resolve("cortex-m4")
    sources = toy.firmware_sources(statement + " toy_sink = (uint32_t)big[0] - 1;")
    image = build_image(sources, toy.MODEL, target, tmp_path, stack_bytes=8192)
    result = qemu.run(image.elf, target, toy.INPUT)
    assert result.output_bytes == toy.expected()
    assert result.stack_bytes is not None
    assert 6000 < result.stack_bytes < 6300


def test_a_header_in_a_folder_is_found(tmp_path: Path) -> None:
    sources = toy.firmware_sources()
    header = sources.pop("toy.h")
    build_image(sources | {"include/toy.h": header}, toy.MODEL, resolve("cortex-m4"), tmp_path)


# change to the sources, what the error says
BROKEN = [
    ("toy.h", "#define TOY_INPUT_COUNT 1", "", "no positive number TOY_INPUT_COUNT"),
    ("toy.h", "OUTPUT_COUNT 1", "OUTPUT_COUNT 0", "no positive number TOY_OUTPUT_COUNT"),
    ("toy.c", "int toy_run(", "int toy_ran(", "toy_r"),
    ("toy.c", "return 0;", "return missing;", "toy.c: the compiler refused it"),
]


@pytest.mark.parametrize(("file", "good", "bad", "message"), BROKEN)
def test_broken_sources_are_an_error(
    file: str, good: str, bad: str, message: str, tmp_path: Path
) -> None:
    sources = toy.firmware_sources()
    sources[file] = sources[file].replace(good, bad)
    with pytest.raises(CompileError, match=message):
        build_image(sources, toy.MODEL, resolve("cortex-m4"), tmp_path)


def test_missing_header_is_an_error(tmp_path: Path) -> None:
    sources = toy.firmware_sources()
    del sources["toy.h"]
    with pytest.raises(CompileError, match=r"the sources have no toy\.h"):
        build_image(sources, toy.MODEL, resolve("cortex-m4"), tmp_path)
