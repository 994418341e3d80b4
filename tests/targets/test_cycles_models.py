from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.cycles import MODELS, Program, disassemble, estimate, known_error


def program_of(folder: Path, text: str, core: str) -> Program:
    source, built = folder / "code.s", folder / "code.o"
    lines = text.replace(";", "\n")
    source.write_text(f".syntax unified\n.thumb\n.text\n{lines}\n")
    options = [f"-mcpu={core}", "-mthumb", "-c", "-Wa,-mimplicit-it=never"]
    if core != "cortex-m3":
        options.append("-mfloat-abi=hard")
    command = ["arm-none-eabi-gcc", *options, str(source), "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True)
    return disassemble(built)


def timing(folder: Path, text: str, core: str) -> tuple[int, int]:
    """Cycles of one pass through the text, and what a taken branch at its end adds."""
    program = program_of(folder, text, core)
    # without a directive between them, instructions fill the section up to its padding
    instructions = list(program.values())[: len([p for p in text.split(";") if p.strip()])]
    size = sum(instruction.size for instruction in instructions)
    once = estimate(core, program, [(0, size, 1, 1)])
    return once, estimate(core, program, [(0, size, 1, 0)]) - once


# counted by hand with the rules of Arm 100166 (zero wait states, refill of 2, division of 6)
M4 = [
    ("adds r0,#1; adds r1,#2", 2, 0),
    ("ldr r0,[r1]", 2, 0),
    ("ldr r0,[r1]; ldr r1,[r2]", 3, 0),
    ("ldr r0,[r1,r2]; str r0,[r3,#20]", 3, 0),
    ("ldr r0,[r1,r2]; str r1,[r3,r2]", 3, 0),
    ("ldr r0,[r1,r5]; ldr r1,[r2]; ldr r2,[r3,#4]", 4, 0),
    ("ldr r0,[r1]; ldr r2,[r0]", 4, 0),
    ("ldr r0,[r1],#4; ldr r2,[r1]", 3, 0),
    ("ldr r0,[r1]; adds r0,#1; ldr r2,[r3]", 5, 0),
    ("str r0,[r1,#4]", 1, 0),
    ("str r0,[r1,r2]", 2, 0),
    ("ldr r0,[r1]; str r2,[r3,r0]", 4, 0),
    ("adds r1,#4; ldr r0,[r1]", 4, 0),
    ("adds r1,#4; str r0,[r1]", 3, 0),
    ("adds r1,#4; str r1,[r2]", 2, 0),
    ("mul r1,r2,r3; ldr r0,[r4,r1]", 4, 0),
    ("adds r0,#4; ldmia r0!,{r1-r3}", 6, 0),
    ("sub sp,#8; push {r4}", 4, 0),
    ("ldmia r0!,{r1-r3}", 4, 0),
    ("stmia r0!,{r1-r4}", 5, 0),
    ("push {r4-r7,lr}", 6, 0),
    ("pop {r4-r7}", 5, 0),
    ("pop {r4-r7,pc}", 8, 0),
    ("ldrd r0,r1,[r2]", 3, 0),
    ("ldr r3,[r4]; ldrd r0,r1,[r2]; ldr r5,[r6]", 7, 0),
    ("strd r0,r1,[r2]", 3, 0),
    ("ldrex r0,[r1]; adds r0,#1; strex r2,r0,[r1]", 5, 0),
    ("mul r0,r1,r2; mla r3,r1,r2,r0; mls r4,r1,r2,r3", 3, 0),
    ("smull r0,r1,r2,r3; smlal r0,r1,r2,r3; umull r0,r1,r2,r3; umaal r0,r1,r2,r3", 4, 0),
    ("smlad r0,r1,r2,r0; sxtb16 r1,r2; pkhbt r1,r2,r3; ssat16 r1,#8,r2; smmulr r1,r2,r3", 5, 0),
    ("sdiv r0,r1,r2; udiv r0,r1,r2", 12, 0),
    ("b .", 3, 0),
    ("bl .", 3, 0),
    ("bx lr", 3, 0),
    ("mov pc,lr", 3, 0),
    ("ldr pc,[r0]", 4, 0),
    ("tbb [pc,r0]", 5, 0),
    ("beq .", 1, 2),
    ("cbz r0,9f; 9: nop", 2, 0),
    ("cmp r0,#0; it eq; moveq r0,#1", 2, 0),
    ("cmp.w r8,#0; it eq; moveq r0,#1", 3, 0),
    ("cmp r0,#0; ite eq; moveq r0,#1; movne r0,#2", 3, 0),
    ("cmp r0,#0; it eq; bxeq lr", 2, 2),
    ("cmp r0,#0; it ne; popne {r4,pc}", 2, 4),
    ("nop; dmb; mrs r0,primask", 3, 0),
    ("ldrsb r3,[r0],#1; ldrsb r4,[r1],#1; mla r2,r3,r4,r2; subs r5,#1; bne .", 6, 2),
    ("ldr r3,[r0],#4; ldr r4,[r1],#4; smlad r2,r3,r4,r2; subs r5,#1; bne .", 6, 2),
    ("vadd.f32 s0,s1,s2; vadd.f32 s3,s4,s5", 2, 0),
    ("vadd.f32 s0,s1,s2; vadd.f32 s3,s0,s5", 3, 0),
    ("vfma.f32 s0,s1,s2; vmla.f32 s3,s4,s5", 6, 0),
    ("vfma.f32 s0,s1,s2; vfma.f32 s0,s4,s5", 7, 0),
    ("vmul.f32 s0,s1,s2; vstr s0,[r0]", 4, 0),
    ("vdiv.f32 s0,s1,s2; vsqrt.f32 s3,s4", 28, 0),
    ("vldr s0,[r0]", 2, 0),
    ("vldr s0,[r0]; vldr s1,[r0,#4]", 3, 0),
    ("vldr d0,[r0]", 3, 0),
    ("vstr s0,[r0]; vstr d1,[r0,#8]", 5, 0),
    ("vldmia r0!,{s0-s3}", 5, 0),
    ("vpush {d8-d9}", 5, 0),
    ("vmov s0,r0; vmov.f32 s1,s2", 2, 0),
    ("vmov s0,s1,r0,r1", 2, 0),
    ("vcmp.f32 s0,s1; vmrs APSR_nzcv,fpscr; bgt .", 3, 2),
]


@pytest.mark.parametrize(("text", "cycles", "taken"), M4)
def test_m4_sequences(text: str, cycles: int, taken: int, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m4") == (cycles, taken)


# Arm DDI 0337: only multiplies differ from the Cortex-M4
M3 = [
    ("mul r0,r1,r2", 1),
    ("mla r0,r1,r2,r3", 2),
    ("smull r0,r1,r2,r3", 4),
    ("umlal r0,r1,r2,r3", 5),
    ("ldr r0,[r1]; ldr r1,[r2]", 3),
]


@pytest.mark.parametrize(("text", "cycles"), M3)
def test_m3_sequences(text: str, cycles: int, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m3") == (cycles, 0)


M7_PAIRS = [
    "adds r0,#1; adds r1,#1",
    "ldr r0,[r1]; adds r2,#1",
    "ldr r0,[r1]; ldr r2,[r3]",
    "str r0,[r1]; adds r2,#1",
    "mul r0,r1,r2; adds r3,#1",
    "mla r0,r1,r2,r0; ldr r3,[r4]",
    "smlad r0,r1,r2,r0; ldr r3,[r4],#4",
    "sxtb16 r0,r1; adds r2,#1",
    "lsls r0,r1,#2; adds r2,#1",
    "vadd.f32 s0,s1,s2; adds r0,#1",
    "vfma.f32 s0,s1,s2; vldr s3,[r0]",
]


@pytest.mark.parametrize("text", M7_PAIRS)
def test_m7_issues_both_in_one_cycle(text: str, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m7") == (1, 0)


M7_SINGLES = [
    "adds r0,#1; adds r1,r0,#1",
    "mul r0,r1,r2; mul r3,r4,r5",
    "mla r0,r1,r2,r0; smlad r3,r4,r5,r3",
    "str r0,[r1]; str r2,[r3]",
    "ldr r0,[r1]; str r2,[r3]",
    "str r0,[r1]; ldr r2,[r3]",
    "lsls r0,r1,#2; asrs r2,r3,#1",
    "add.w r0,r1,r2,lsl #2; uxtb r3,r4",
    "adds r0,#1; sxtb16 r1,r2",
    "vadd.f32 s0,s1,s2; vmul.f32 s3,s4,s5",
    "vstr s0,[r0]; vldr s1,[r1]",
]


@pytest.mark.parametrize("text", M7_SINGLES)
def test_m7_issues_one_after_the_other(text: str, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m7") == (2, 0)


M7_LATENCIES = [
    ("adds r0,#1; adds r1,#1; adds r2,#1", 2, 0),
    ("ldr r0,[r1]; adds r2,r0,#1", 3, 0),
    ("ldr r0,[r1]; ldr r2,[r0]", 3, 0),
    ("ldr r0,[r1]; mul r2,r0,r3", 2, 0),
    ("ldr r0,[r1]; adds r2,#1; adds r3,#1; adds r4,r0,#1", 3, 0),
    ("ldr r0,[r1],#4; ldr r2,[r1]", 2, 0),
    ("mul r0,r1,r2; adds r3,r0,#1", 3, 0),
    ("mla r0,r1,r2,r0; mla r0,r3,r4,r0", 2, 0),
    ("sdiv r0,r1,r2", 8, 0),
    ("ldmia r0!,{r1-r4}", 3, 0),
    ("vadd.f32 s0,s1,s2; vadd.f32 s3,s0,s4", 4, 0),
    ("vfma.f32 s0,s1,s2; vadd.f32 s3,s0,s4", 7, 0),
    ("vcmp.f32 s0,s1; vmrs APSR_nzcv,fpscr", 4, 0),
    ("b .", 2, 0),
    ("bx lr", 3, 0),
    ("subs r0,#1; bne .", 1, 1),
    ("it eq; bxeq lr", 1, 2),
]


@pytest.mark.parametrize(("text", "cycles", "taken"), M7_LATENCIES)
def test_m7_latencies(text: str, cycles: int, taken: int, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m7") == (cycles, taken)


M55 = [
    ("vldrb.u8 q0,[r0]; vadd.i8 q1,q2,q3", 2, 0),
    ("vadd.i8 q0,q1,q2; vmul.i8 q3,q4,q5", 2, 0),
    ("vadd.i8 q0,q1,q2; vadd.i8 q3,q4,q5", 3, 0),
    ("vadd.f32 q0,q1,q2; vmul.f32 q3,q4,q5", 3, 0),
    ("vldrb.u8 q0,[r0]; vstrb.8 q1,[r1]", 3, 0),
    ("vldrb.u8 q0,[r0]; vadd.i8 q1,q0,q0; vmul.i8 q2,q1,q1; vstrb.8 q2,[r1]", 4, 0),
    ("vldrb.u8 q0,[r0]; vldrb.u8 q1,[r1]; vadd.i8 q2,q0,q1; vstrb.8 q2,[r1]", 5, 0),
    ("vldrb.u8 q0,[r0]; adds r0,#1; vldrb.u8 q1,[r1]", 3, 0),
    ("vpst; vaddt.i8 q0,q1,q2", 2, 0),
    ("ldr r0,[r1]; adds r2,r0,#1", 3, 0),
    ("ldr r0,[r1]; adds r2,#1", 2, 0),
    ("ldmia r0!,{r1-r4}", 3, 0),
    ("sdiv r0,r1,r2", 6, 0),
    ("b .", 2, 0),
    ("subs r0,#1; bne .", 2, 1),
    ("dlstp.8 lr,r0", 1, 0),
]


@pytest.mark.parametrize(("text", "cycles", "taken"), M55)
def test_m55_overlaps(text: str, cycles: int, taken: int, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m55") == (cycles, taken)


M55_LOOPS = [
    # two loads hold the one memory pipe for four cycles, the product fits beside them
    ("9: vldrb.u8 q0,[r0],#16; vldrb.u8 q1,[r1],#16; vmladava.s8 r2,q0,q1; letp lr,9b", 4),
    ("9: vldrb.u8 q0,[r0],#16; vmladava.s8 r2,q0,q1; letp lr,9b", 2),
    ("9: vmul.i8 q0,q1,q2; le lr,9b", 2),
    ("9: vmul.i8 q0,q1,q2; vldrb.u8 q4,[r0]; vmul.i8 q3,q1,q2; le lr,9b", 4),
    ("9: adds r0,#1; le lr,9b", 1),
]


@pytest.mark.parametrize(("text", "cycles"), M55_LOOPS)
def test_m55_loop_body_holds_its_pipes(text: str, cycles: int, tmp_path: Path) -> None:
    assert timing(tmp_path, text, "cortex-m55") == (cycles, 0)


@pytest.mark.parametrize("core", MODELS)
def test_counts_scale_and_the_last_round_falls_through(core: str, tmp_path: Path) -> None:
    program = program_of(tmp_path, "9: subs r0,#1; bne 9b; bx lr", core)
    loop, leave = (0, 4), (4, 2)
    once = estimate(core, program, [(*loop, 1, 1)])
    taken = estimate(core, program, [(*loop, 1, 0)]) - once
    assert taken > 0
    run = estimate(core, program, [(*loop, 10, 1), (*leave, 1, 0)])
    assert run == 10 * once + 9 * taken + estimate(core, program, [(*leave, 1, 0)])


def test_m4_loop_of_known_length(tmp_path: Path) -> None:
    # ten rounds of two cycles, nine of them refill the pipeline; then bx
    program = program_of(tmp_path, "9: subs r0,#1; bne 9b; bx lr", "cortex-m4")
    assert estimate("cortex-m4", program, [(0, 4, 10, 1), (4, 2, 1, 0)]) == 10 * 2 + 9 * 2 + 3


def test_m33_is_timed_by_the_m4_table(tmp_path: Path) -> None:
    program = program_of(tmp_path, "ldr r0,[r1]; smlad r2,r0,r3,r2; bx lr", "cortex-m33")
    blocks = [(0, 8, 7, 0)]
    assert estimate("cortex-m33", program, blocks) == estimate("cortex-m4", program, blocks)


@pytest.mark.parametrize("core", MODELS)
def test_an_unknown_mnemonic_costs_one_cycle(core: str, tmp_path: Path) -> None:
    program = program_of(tmp_path, "mcr p1,#0,r0,c0,c0,#0", core)
    assert estimate(core, program, [(0, 4, 1, 0)]) == 1


@pytest.mark.parametrize("core", MODELS)
def test_known_error_is_one_sentence(core: str) -> None:
    sentence = known_error(core)
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_core_without_a_model_is_refused() -> None:
    with pytest.raises(TargetError, match=r"no cycle model for 'cortex-m0'(.|\n)*cortex-m33"):
        known_error("cortex-m0")
