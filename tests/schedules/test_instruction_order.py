"""Orders of instructions: what waits for what, and what is gained."""

from __future__ import annotations

import pytest

from tvm_tiny.schedules.instruction_order import reordered
from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.single_words import single_words

NAMES = Registers(words="r0", stream="r1", y="r2", a="r3", b="r4", c="r5", d="r6", s="r7", t="r8")


def made(*lines: str) -> MicroKernel:
    return MicroKernel("made", "", "", NAMES.wrap(lines), ())


def ordered(*lines: str, order: str = "grouped") -> list[str]:
    return [x for x in reordered(made(*lines), order).assembly if "req " not in x]


def test_loads_come_together() -> None:
    lines = ("ldr a, [words]", "smlad s, a, a, s", "ldr b, [words, #4]", "smlad t, b, b, t")
    assert ordered(*lines)[:2] == ["ldr a, [words]", "ldr b, [words, #4]"]


def test_nothing_gained_is_nothing_changed() -> None:
    function = made("ldr a, [words]", "smlad s, a, a, s")
    assert reordered(function, "grouped") is function


@pytest.mark.parametrize(
    "lines",
    [
        ("smlad s, a, b, s", "1:", "ldr a, [words]", "ldr b, [words, #4]"),  # labels
        ("ldr a, [words]", "bne 1b", "ldr b, [words, #4]"),  # branches
        ("ldr a, [words]", "it eq", "subeq y, #1", "ldr b, [words, #4]"),  # conditions
        ("strb a, [y]", "ldr b, [a]", "smlad s, b, b, s", "ldr c, [a, #4]"),  # unknown memory
    ],
)
def test_lines_stay_on_their_side(lines: tuple[str, ...]) -> None:
    found = ordered(*lines)
    assert sorted(found) == sorted(lines)
    fence = next(x for x in lines if x[0] in "1bi" or x.startswith("strb"))
    place, was = found.index(fence), lines.index(fence)
    assert set(found[:place]) == set(lines[:was])


def test_ranges_hold_all_their_registers() -> None:
    found = ordered("mov r5, r4", "mov r6, r4", "stmia r3, {r4-r11}", "smlad s, a, b, s")
    assert found.index("mov r5, r4") < found.index("stmia r3, {r4-r11}")
    assert found.index("mov r6, r4") < found.index("stmia r3, {r4-r11}")


def test_flags_stay_with_their_reader() -> None:
    found = ordered("lsrs a, a, #23", "adc b, a, b", "lsrs c, c, #23", "adc d, c, d")
    assert found[0].startswith("lsrs") and found[1].startswith("adc")
    assert found[2].startswith("lsrs") and found[3].startswith("adc")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ldrd a, b, [words], #8", ["ldr a, [words], #4", "ldr b, [words], #4"]),
        ("ldrd a, b, [words, #8]", ["ldr a, [words, #8]", "ldr b, [words, #12]"]),
        ("ldrd a, b, [words], #64", ["ldr b, [words, #4]", "ldr a, [words], #64"]),
        ("stmia y!, {a, b}", ["str a, [y], #4", "str b, [y], #4"]),
        ("ldmia sp, {a, b}", ["ldr a, [sp, #0]", "ldr b, [sp, #4]"]),
        ("ldrd a, b, [words], #512", ["ldrd a, b, [words], #512"]),  # too far
        ("ldrd a, words, [words]", ["ldrd a, words, [words]"]),  # loses its base
        ("smlad s, a, b, s", ["smlad s, a, b, s"]),
    ],
)
def test_single_words(line: str, words: list[str]) -> None:
    assert single_words(line) == words
