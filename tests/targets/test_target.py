from __future__ import annotations

import pytest

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.target import all_targets, resolve


def test_a_board_brings_its_core_and_its_memories() -> None:
    target = resolve("nucleo-l4r5zi")
    assert (target.core.name, target.board.name) == ("cortex-m4", "nucleo-l4r5zi")
    assert (target.sram_bytes, target.flash_bytes) == (640 << 10, 2 << 20)
    assert not target.emulated


def test_a_core_stands_for_its_emulator_board() -> None:
    target = resolve("cortex-m4")
    assert (target.name, target.board.name) == ("cortex-m4", "mps2-an386")
    assert target.emulated


def test_a_core_keeps_its_own_flags_on_a_board_of_another() -> None:
    target = resolve("cortex-m0plus")
    assert target.board.core != target.core.name
    assert "-mcpu=cortex-m0plus" in target.compiler_flags


def test_a_board_has_the_last_word_on_flags() -> None:
    assert resolve("stm32f746g-disco").compiler_flags[-1] == "-mfpu=fpv5-sp-d16"


def test_limits_are_kept_and_enforced_rounded_down() -> None:
    target = resolve("cortex-m4", sram=100_001, flash=50_001)
    assert (target.sram_bytes, target.flash_bytes) == (100_001, 50_001)
    assert (target.ram.length, target.flash.length) == (100_000, 49_984)


def test_a_separate_vector_memory_counts_as_flash() -> None:
    target = resolve("mps3-an547", flash=100_352)
    assert target.board.vectors is not None
    assert target.flash.length == 100_352 - target.board.vectors.length


@pytest.mark.parametrize("bad", [0, -5, 31])
def test_a_limit_that_is_too_small_is_an_error(bad: int) -> None:
    with pytest.raises(TargetError, match="SRAM limit is too small"):
        resolve("cortex-m4", sram=bad)
    with pytest.raises(TargetError, match="Flash limit is too small"):
        resolve("mps3-an547", flash=bad)


def test_a_limit_above_the_board_is_an_error() -> None:
    with pytest.raises(TargetError, match="SRAM limit is more than the board has") as caught:
        resolve("microbit", sram=20_000)
    assert (caught.value.limit, caught.value.found) == (16_384, 20_000)


def test_an_unknown_name_is_an_error_with_close_names() -> None:
    with pytest.raises(TargetError, match=r"did you mean .*cortex-m4") as caught:
        resolve("cortex-m44")
    assert "microbit" in caught.value.what


def test_every_target_resolves() -> None:
    names = [target.name for target in all_targets()]
    assert len(names) == len(set(names)) == 18
