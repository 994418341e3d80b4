from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.targets import toy
from tvm_tiny.errors import DoesNotFitError, TargetError
from tvm_tiny.targets import linker
from tvm_tiny.targets.image import build_image
from tvm_tiny.targets.linker import layout_for, linker_script
from tvm_tiny.targets.target import resolve


def memories(script: str) -> dict[str, tuple[int, int]]:
    pattern = r"(\w+) \(r[xw]\) : ORIGIN = (0x\w+), LENGTH = (0x\w+)"
    return {
        name: (int(origin, 16), int(length, 16))
        for name, origin, length in re.findall(pattern, script)
    }


def test_script_has_the_limits() -> None:
    script = linker_script(layout_for(resolve("netduinoplus2", sram=65536, flash=100_000)))
    assert memories(script) == {"FLASH": (0x08000000, 100_000), "RAM": (0x20000000, 65536)}
    assert ". += 4096;" in script and ". += 256;" in script


def test_script_has_a_separate_memory_for_vectors() -> None:
    script = linker_script(layout_for(resolve("mps3-an547")))
    assert memories(script)["VECTORS"] == (0x10000000, 0x400)
    assert "KEEP(*(.vectors)) } > VECTORS" in script


def test_stack_size_is_the_boards_or_the_callers() -> None:
    target = resolve("microbit")
    assert layout_for(target).stack_bytes == 1024
    assert layout_for(target, 2048).stack_bytes == 2048
    with pytest.raises(TargetError, match="multiple of 8"):
        layout_for(target, 2044)


def test_sram_overflow_is_found_before_linking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(linker, "run_tool", lambda *arguments: compiled.append(arguments))
    sources = toy.with_arena(toy.firmware_sources(), 20_000)
    with pytest.raises(DoesNotFitError, match="more SRAM than the limit") as caught:
        build_image(sources, toy.MODEL, resolve("cortex-m4", sram=16384), tmp_path)
    assert caught.value.limit == 16384
    assert isinstance(caught.value.found, int)
    assert 20_000 + 4096 + 256 < caught.value.found < 20_000 + 4096 + 256 + 200
    assert compiled == []


def test_weights_that_overflow_the_flash_are_found_before_linking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = []
    monkeypatch.setattr(linker, "run_tool", lambda *arguments: linked.append(arguments))
    sources = toy.firmware_sources()
    sources["layers.c"] = sources["layers.c"].replace("weights[64]", "weights[40000]")
    with pytest.raises(DoesNotFitError, match="more Flash than the limit") as caught:
        build_image(sources, toy.MODEL, resolve("cortex-m4", flash=32768), tmp_path)
    assert caught.value.limit == 32768
    assert isinstance(caught.value.found, int)
    assert 40_000 <= caught.value.found < 40_100
    assert linked == []


def test_code_that_overflows_the_flash_is_found_by_the_linker(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match="more Flash than the limit") as caught:
        build_image(toy.firmware_sources(), toy.MODEL, resolve("cortex-m4", flash=512), tmp_path)
    assert caught.value.limit == 512
    assert isinstance(caught.value.found, int)
    assert 512 < caught.value.found < 2000
    assert "--optimize size" in caught.value.hint


@pytest.mark.parametrize("memory", ["sram", "flash"])
def test_the_reported_need_is_enough(memory: str, tmp_path: Path) -> None:
    small = {"sram": 4416, "flash": 512}[memory]
    with pytest.raises(DoesNotFitError) as caught:
        build_image(
            toy.firmware_sources(), toy.MODEL, resolve("cortex-m4", **{memory: small}), tmp_path
        )
    assert isinstance(caught.value.found, int)
    enough = -(-caught.value.found // 32) * 32 + 32  # alignment between sections
    build_image(
        toy.firmware_sources(), toy.MODEL, resolve("cortex-m4", **{memory: enough}), tmp_path
    )
