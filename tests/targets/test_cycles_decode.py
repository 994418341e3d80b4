from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tvm_tiny.errors import ArtefactError, MissingToolError
from tvm_tiny.targets.cycles import Instruction, Kind, Program, block_instructions, disassemble
from tvm_tiny.targets.cycles.mnemonics import SCALAR_STEMS, VECTOR_STEMS

CORE = """
adc r0,r1; adcs.w r0,r1,r2; adds r0,#1; add r0,r8; add r0,sp,#8; addw r0,r1,#291; ands r0,r1
asrs r0,r1,#3; asr.w r0,r1,r2; bfc r0,#3,#4; bfi r0,r1,#3,#4; bics r0,r1; clz r0,r1; cmn r0,r1
cmp r0,#1; cmp.w r0,r1,lsl #2; eors r0,r1; lsls r0,r1; lsrs r0,r1,#2; movs r0,#1; mov r8,r0
movw r0,#4660; movt r0,#4660; mvns r0,r1; orn r0,r1,r2; orrs r0,r1; rbit r0,r1; rev r0,r1
rev16 r0,r1; revsh r0,r1; rors r0,r1; rrx r0,r1; rsbs r0,r1,#0; sbcs r0,r1; sbfx r0,r1,#3,#4
ssat r0,#8,r1,asr #3; subs r0,#1; sub sp,#8; sxtb r0,r1; sxth.w r0,r1,ror #8; teq r0,r1; tst r0,r1
ubfx r0,r1,#3,#4; usat r0,#8,r1; uxtb r0,r1; uxth r0,r1; mul r0,r1,r2; muls r0,r1; mla r0,r1,r2,r3
mls r0,r1,r2,r3; smull r0,r1,r2,r3; umull r0,r1,r2,r3; smlal r0,r1,r2,r3; umlal r0,r1,r2,r3
sdiv r0,r1,r2; udiv r0,r1,r2; ldr r0,[r1]; ldrb r0,[r1]; ldrh r0,[r1,r2]; ldrsb r0,[r1,r2]
ldrsh.w r0,[r1],#2; ldrbt r0,[r1]; ldrt r0,[r1]; ldrex r0,[r1]; ldrexb r0,[r1]; strex r2,r0,[r1]
strexh r2,r0,[r1]; ldrd r0,r1,[r2],#8; strd r0,r1,[r2]; str r0,[r1]; strb r0,[r1,#1]!; strh r0,[r1]
strt r0,[r1]; ldmia r0!,{r1,r2}; ldmdb r0,{r1,r2}; stmia r0!,{r1,r2}; stmdb r0!,{r1,r2}
push {r4,lr}; pop {r4,pc}; pop.w {r4-r9}; b .; bl .; blx r3; bx lr; beq .; bls.w .; blt .
cbz r0,9f; cbnz r0,9f; tbb [pc,r0]; tbh [pc,r0,lsl #1]; 9: nop; nop.w; bkpt 0xab; clrex; cpsid i
cpsie i; dbg #1; dmb; dsb; isb; mrs r0,primask; msr primask,r0; pld [r0]; sev; svc 0; udf #0; wfe
wfi; yield; it eq; addeq r0,r1; itt lt; addslt.w r0,r1,r2; bllt .; ite cs; movcs r0,#1; movcc r0,#2
itttt vs; lslvs r0,r1; subsvs.w r0,#1; rsbvs r0,r1,#0; bxvs lr
"""
DSP = """
pkhbt r0,r1,r2,lsl #16; pkhtb r0,r1,r2,asr #16; qadd r0,r1,r2; qadd16 r0,r1,r2; qadd8 r0,r1,r2
qasx r0,r1,r2; qdadd r0,r1,r2; qdsub r0,r1,r2; qsax r0,r1,r2; qsub r0,r1,r2; qsub16 r0,r1,r2
sadd16 r0,r1,r2; sadd8 r0,r1,r2; sasx r0,r1,r2; sel r0,r1,r2; shadd16 r0,r1,r2; shsub8 r0,r1,r2
ssat16 r0,#8,r1; ssub16 r0,r1,r2; sxtab r0,r1,r2; sxtab16 r0,r1,r2; sxtah r0,r1,r2
sxtb16 r0,r1,ror #8; uadd8 r0,r1,r2; uhadd8 r0,r1,r2; uqadd16 r0,r1,r2; uqsub8 r0,r1,r2
usad8 r0,r1,r2; usada8 r0,r1,r2,r3; usat16 r0,#8,r1; usub8 r0,r1,r2; uxtab r0,r1,r2; uxtb16 r0,r1
smlabb r0,r1,r2,r3; smlatt r0,r1,r2,r3; smlawb r0,r1,r2,r3; smlad r0,r1,r2,r3; smladx r0,r1,r2,r3
smlsd r0,r1,r2,r3; smmla r0,r1,r2,r3; smmlar r0,r1,r2,r3; smmls r0,r1,r2,r3; smmul r0,r1,r2
smmulr r0,r1,r2; smuad r0,r1,r2; smusdx r0,r1,r2; smulbb r0,r1,r2; smultt r0,r1,r2; smulwb r0,r1,r2
smlalbb r0,r1,r2,r3; smlald r0,r1,r2,r3; smlaldx r0,r1,r2,r3; smlsld r0,r1,r2,r3; umaal r0,r1,r2,r3
"""
FLOAT = """
vabs.f32 s0,s1; vadd.f32 s0,s1,s2; vcmp.f32 s0,#0.0; vcmpe.f32 s0,s1; vcvt.s32.f32 s0,s1
vcvtr.s32.f32 s0,s1; vcvtb.f32.f16 s0,s1; vcvtt.f16.f32 s0,s1; vdiv.f32 s0,s1,s2; vfma.f32 s0,s1,s2
vfms.f32 s0,s1,s2; vfnma.f32 s0,s1,s2; vfnms.f32 s0,s1,s2; vldmia r0!,{s0-s3}; vldmdb r0!,{d0-d1}
vldr s0,[r0]; vldr d0,[r0,#8]; vmla.f32 s0,s1,s2; vmls.f32 s0,s1,s2; vmov s0,r0; vmov r0,s0
vmov s0,s1,r0,r1; vmov d0,r0,r1; vmov r0,r1,d0; vmov.f32 s0,s1; vmov.f32 s0,#1.0
vmrs APSR_nzcv,fpscr; vmrs r0,fpscr; vmsr fpscr,r0; vmul.f32 s0,s1,s2; vneg.f32 s0,s1
vnmla.f32 s0,s1,s2; vnmls.f32 s0,s1,s2; vnmul.f32 s0,s1,s2; vpop {s16-s19}; vpush {d8-d9}
vsqrt.f32 s0,s1; vstmia r0!,{s0-s3}; vstr s0,[r0]; vsub.f32 s0,s1,s2; it eq; vmoveq.f32 s0,s1
it lt; vmovlt.f32 s0,s1; it ne; vcmpne.f32 s0,s1
"""
DOUBLE = """
vadd.f64 d0,d1,d2; vfma.f64 d0,d1,d2; vcvta.s32.f32 s0,s1; vcvtm.u32.f64 s0,d1; vrinta.f32 s0,s1
vrintz.f32 s0,s1; vrintx.f64 d0,d1; vselge.f32 s0,s1,s2; vseleq.f64 d0,d1,d2; vmaxnm.f32 s0,s1,s2
vminnm.f32 s0,s1,s2; vsqrt.f64 d0,d1; vcvt.f64.f32 d0,s1
"""
SECURE = (
    "sg; tt r0,r1; bxns lr; blxns r3; lda r0,[r1]; stlb r0,[r1]; stlex r2,r0,[r1]; ldaexh r0,[r1]"
)
VECTOR = """
9: wls lr,r0,8f; wlstp.8 lr,r0,8f; dls lr,r0; dlstp.32 lr,r0; le lr,9b; letp lr,9b; lctp
8: asrl r0,r1,#3; lsll r0,r1,r2; lsrl r0,r1,#3; sqrshr r0,r1; sqrshrl r0,r1,#64,r2; uqshll r0,r1,#3
srshr r0,#3; urshrl r0,r1,#3; cset r0,eq; csetm r0,ne; cinc r0,r1,eq; cneg r0,r1,lt
csel r0,r1,r2,eq; csinc r0,r1,r2,ne; csinv r0,r1,r2,ne; csneg r0,r1,r2,ne; clrm {r0-r3}
vscclrm {s0-s3,VPR}; vldr VPR,[r0]; vctp.8 r0; vpnot; vpsel q0,q1,q2; vcmp.s8 ge,q0,q1
vcmp.i32 eq,q0,r1; vpst; vaddt.i8 q0,q1,q2; vpste; vldrbt.u8 q0,[r0],#16; vmovnbe.i16 q0,q1
vpte.s8 ge,q0,q1; vmlavat.s8 r0,q0,q1; vmullte.s8 q0,q1,q2; vldrb.u8 q0,[r0],#16
vldrh.s32 q0,[r0,q1]; vldrw.u32 q0,[q1,#4]!; vstrb.8 q0,[r0]; vstrw.32 q0,[r0,q1]
vld20.8 {q0,q1},[r0]; vld21.8 {q0,q1},[r0]!; vst20.16 {q0,q1},[r0]; vld43.8 {q0,q1,q2,q3},[r0]
vst41.8 {q0,q1,q2,q3},[r0]; vabav.s8 r0,q0,q1; vabd.s8 q0,q1,q2; vabs.s8 q0,q1; vadc.i32 q0,q1,q2
vadd.i8 q0,q1,r0; vadd.f32 q0,q1,q2; vaddlva.s32 r0,r1,q0; vaddv.s8 r0,q0; vaddva.u8 r0,q0
vand q0,q1,q2; vbic q0,q1,q2; vbrsr.8 q0,q1,r0; vcadd.i8 q0,q1,q2,#90; vcls.s8 q0,q1; vclz.i8 q0,q1
vcmla.f32 q0,q1,q2,#90; vcmul.f32 q0,q1,q2,#90; vcvt.s32.f32 q0,q1; vcvta.s32.f32 q0,q1
vddup.u8 q0,r0,#1; vidup.u32 q0,r0,#1; viwdup.u8 q0,r0,r1,#1; vdwdup.u8 q0,r0,r1,#2; vdup.8 q0,r0
veor q0,q1,q2; vfma.f32 q0,q1,r0; vfmas.f32 q0,q1,r0; vfms.f32 q0,q1,q2; vhadd.s8 q0,q1,q2
vhcadd.s8 q0,q1,q2,#90; vhsub.s8 q0,q1,q2; vmax.s8 q0,q1,q2; vmaxa.s8 q0,q1; vmaxav.s8 r0,q1
vmaxnm.f32 q0,q1,q2; vmaxnmv.f32 r0,q1; vmaxv.s8 r0,q1; vmin.u8 q0,q1,q2; vminv.s8 r0,q1
vmla.s8 q0,q1,r0; vmlas.s8 q0,q1,r0; vmladava.s8 r0,q0,q1; vmladavx.s8 r0,q0,q1
vmlaldava.s16 r0,r1,q0,q1; vmlsdav.s8 r0,q0,q1; vmlsldav.s16 r0,r1,q0,q1; vmov q0[2],q0[0],r0,r1
vmov r0,r1,q0[3],q0[1]; vmov.8 q0[3],r0; vmov.s8 r0,q0[3]; vmov.i32 q0,#0; vmov.f32 q0,#1.0
vmovlb.s8 q0,q1; vmovlt.u8 q0,q1; vmovnb.i16 q0,q1; vmovnt.i16 q0,q1; vmul.i8 q0,q1,q2
vmul.f32 q0,q1,q2; vmulh.s8 q0,q1,q2; vmullb.s8 q0,q1,q2; vmullt.p8 q0,q1,q2; vmvn q0,q1
vneg.s8 q0,q1; vorn q0,q1,q2; vorr q0,q1,q2; vqabs.s8 q0,q1; vqadd.s8 q0,q1,q2
vqdmladh.s8 q0,q1,q2; vqdmlah.s8 q0,q1,r0; vqdmlash.s8 q0,q1,r0; vqdmlsdhx.s8 q0,q1,q2
vqdmulh.s8 q0,q1,r0; vqdmullb.s16 q0,q1,q2; vqmovnb.s16 q0,q1; vqmovunt.s16 q0,q1; vqneg.s8 q0,q1
vqrdmladhx.s8 q0,q1,q2; vqrdmlah.s8 q0,q1,r0; vqrdmlash.s8 q0,q1,r0; vqrdmulh.s32 q0,q1,q2
vqrshl.s32 q0,q1,q2; vqrshrnb.s16 q0,q1,#3; vqrshrunt.s16 q0,q1,#3; vqshl.s8 q0,q1,#3
vqshlu.s8 q0,q1,#3; vqshrnt.s16 q0,q1,#3; vqsub.s8 q0,q1,q2; vrev16.8 q0,q1; vrev64.8 q0,q1
vrhadd.s8 q0,q1,q2; vrinta.f32 q0,q1; vrmlaldavha.s32 r0,r1,q0,q1; vrmlsldavh.s32 r0,r1,q0,q1
vrmulh.s8 q0,q1,q2; vrshl.s32 q0,r0; vrshr.s8 q0,q1,#3; vrshrnb.i16 q0,q1,#3; vsbc.i32 q0,q1,q2
vshl.i8 q0,q1,#3; vshlc q0,r0,#3; vshllb.s8 q0,q1,#3; vshr.s8 q0,q1,#3; vshrnt.i16 q0,q1,#3
vsli.8 q0,q1,#3; vsri.8 q0,q1,#3; vsub.i8 q0,q1,q2; vsub.f32 q0,q1,q2
"""
SAMPLES = {
    "cortex-m3": CORE,
    "cortex-m4": CORE + DSP + FLOAT,
    "cortex-m7": CORE + DSP + FLOAT + DOUBLE,
    "cortex-m33": CORE + DSP + FLOAT + SECURE,
    "cortex-m55": DSP + FLOAT + DOUBLE + SECURE + VECTOR,
}


def assemble(folder: Path, text: str, core: str = "cortex-m7") -> Path:
    source, built = folder / "code.s", folder / "code.o"
    lines = text.replace(";", "\n")
    source.write_text(f".syntax unified\n.thumb\n.text\n{lines}\n")
    options = [f"-mcpu={core}", "-mthumb", "-c", "-Wa,-mimplicit-it=never"]
    if core != "cortex-m3":
        options.append("-mfloat-abi=hard")
    command = ["arm-none-eabi-gcc", *options, str(source), "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True)
    return built


def decode_one(folder: Path, text: str, core: str = "cortex-m7") -> Instruction:
    return list(disassemble(assemble(folder, text, core)).values())[-1]


@pytest.mark.parametrize("core", SAMPLES)
def test_every_mnemonic_of_the_sample_is_in_the_table(core: str, tmp_path: Path) -> None:
    program = disassemble(assemble(tmp_path, SAMPLES[core], core))
    unknown = [i.mnemonic for i in program.values() if i.kind is Kind.UNKNOWN]
    assert unknown == []
    assert len(program) > 100
    ends = [address + i.size for address, i in program.items()]
    assert list(program)[1:] == ends[:-1], "lines of the listing were skipped"


@pytest.mark.parametrize("table", [SCALAR_STEMS, VECTOR_STEMS])
def test_no_stem_has_two_kinds(table: dict[Kind, str]) -> None:
    stems = Counter(stem for stems in table.values() for stem in stems.split())
    assert [stem for stem, times in stems.items() if times > 1] == []


KINDS = [
    ("beq .", Kind.CONDITIONAL_BRANCH),
    ("b.w .", Kind.BRANCH),
    ("bls .", Kind.CONDITIONAL_BRANCH),
    ("bl .", Kind.CALL),
    ("bics r0,r1", Kind.ALU),
    ("muls r0,r1", Kind.MULTIPLY),
    ("mls r0,r1,r2,r3", Kind.MULTIPLY_ACCUMULATE),
    ("smlad r0,r1,r2,r3", Kind.MULTIPLY_ACCUMULATE),
    ("smmulr r0,r1,r2", Kind.MULTIPLY),
    ("smlald r0,r1,r2,r3", Kind.LONG_MULTIPLY_ACCUMULATE),
    ("sxtb16 r0,r1", Kind.DSP),
    ("ssat16 r0,#8,r1", Kind.DSP),
    ("vmov s0,r0", Kind.FLOAT_MOVE),
    ("it lt; vmovlt.f32 s0,s1", Kind.FLOAT_MOVE),
    ("vmla.f32 s0,s1,s2", Kind.FLOAT_MULTIPLY_ACCUMULATE),
    ("vsqrt.f32 s0,s1", Kind.FLOAT_DIVIDE),
    ("vpop {s16-s19}", Kind.FLOAT_LOAD_MULTIPLE),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_kind(text: str, kind: Kind, tmp_path: Path) -> None:
    assert decode_one(tmp_path, text).kind is kind


VECTOR_KINDS = [
    ("vmovlt.s8 q0,q1", Kind.VECTOR_INTEGER),
    ("vadd.i8 q0,q1,q2", Kind.VECTOR_INTEGER),
    ("vadd.f32 q0,q1,q2", Kind.VECTOR_MULTIPLY),
    ("vmladava.s8 r0,q0,q1", Kind.VECTOR_MULTIPLY),
    ("vldrb.u8 q0,[r0],#16", Kind.VECTOR_LOAD),
    ("vstrw.32 q0,[r0,q1]", Kind.VECTOR_STORE),
    ("vpst; vldrwt.u32 q0,[r0]", Kind.VECTOR_LOAD),
    ("vdup.8 q0,r0", Kind.VECTOR_MOVE),
    ("vctp.8 r0", Kind.VECTOR_PREDICATE),
    ("dlstp.8 lr,r0", Kind.LOOP_START),
    ("1: le lr,1b", Kind.LOOP_END),
    ("csel r0,r1,r2,eq", Kind.ALU),
]


@pytest.mark.parametrize(("text", "kind"), VECTOR_KINDS)
def test_vector_kind(text: str, kind: Kind, tmp_path: Path) -> None:
    assert decode_one(tmp_path, text, "cortex-m55").kind is kind


REGISTERS = [
    ("adds r0,#1", "r0", "r0"),
    ("adds r0,r1,#1", "r1", "r0"),
    ("movs r0,#1", "", "r0"),
    ("mvns r0,r1", "r1", "r0"),
    ("movt r0,#1", "r0", "r0"),
    ("cmp r0,r1", "r0 r1", ""),
    ("mla r0,r1,r2,r3", "r1 r2 r3", "r0"),
    ("smlal r0,r1,r2,r3", "r0 r1 r2 r3", "r0 r1"),
    ("smull r0,r1,r2,r3", "r2 r3", "r0 r1"),
    ("ldr r0,[r1,r2,lsl #2]", "r1 r2", "r0"),
    ("ldr r0,[r1],#4", "r1", "r0 r1"),
    ("ldrd r0,r1,[r2,#8]!", "r2", "r0 r1 r2"),
    ("str r0,[r1,r2]", "r0 r1 r2", ""),
    ("str r0,[r1,#4]!", "r0 r1", "r1"),
    ("strex r2,r0,[r1]", "r0 r1", "r2"),
    ("ldmia r0!,{r1,r2}", "r0", "r0 r1 r2"),
    ("stmdb sl!,{r1,r2}", "r1 r2 r10", "r10"),
    ("push {r4,lr}", "r4 lr sp", "sp"),
    ("pop {r4,pc}", "sp", "r4 pc sp"),
    ("blx r3", "r3", "lr"),
    ("cbz r0,1f; nop; 1: tbb [pc,r2]", "pc r2", ""),
    ("vldr d1,[r0]", "r0", "s2 s3"),
    ("vldmia r0!,{s0-s2}", "r0", "s0 s1 s2 r0"),
    ("vfma.f32 s0,s1,s2", "s0 s1 s2", "s0"),
    ("vmov r0,r1,d1", "s2 s3", "r0 r1"),
    ("vmov d1,r0,r1", "r0 r1", "s2 s3"),
    ("vmov s0,s1,r0,r1", "r0 r1", "s0 s1"),
    ("vcmp.f32 s0,s1", "s0 s1", "fpscr"),
    ("vmrs APSR_nzcv,fpscr", "fpscr", ""),
]


@pytest.mark.parametrize(("text", "read", "written"), REGISTERS)
def test_registers(text: str, read: str, written: str, tmp_path: Path) -> None:
    decoded = decode_one(tmp_path, text)
    assert decoded.registers_read == set(read.split())
    assert decoded.registers_written == set(written.split())


def test_write_back_is_not_a_result(tmp_path: Path) -> None:
    decoded = decode_one(tmp_path, "ldr r0,[r1,#4]!")
    assert decoded.writeback
    assert decoded.address_registers == ("r1",)
    assert decoded.results == {"r0"}


@pytest.mark.parametrize(
    ("text", "count"),
    [("push {r4-r7,lr}", 5), ("vldmia r0,{d0-d1}", 4), ("ldrd r0,r1,[r2]", 2), ("vldr d0,[r0]", 2)],
)
def test_register_count(text: str, count: int, tmp_path: Path) -> None:
    assert decode_one(tmp_path, text).register_count == count


def test_it_block_covers_as_many_as_its_letters(tmp_path: Path) -> None:
    program = disassemble(assemble(tmp_path, "itte eq; addeq r0,r1; addeq r0,r1; bxne lr; nop"))
    flags = [i.in_it_block for i in program.values()]
    assert flags == [False, True, True, True, False]
    assert [i.may_fall_through for i in program.values()] == [False, False, False, True, False]


def test_data_between_functions_is_left_out(tmp_path: Path) -> None:
    program = disassemble(assemble(tmp_path, "bx lr; .align 2; .word 0x4770beef; nop"))
    assert {i.mnemonic for i in program.values()} == {"bx", "nop"}
    assert 4 not in program


@pytest.fixture
def two_adds(tmp_path: Path) -> Program:
    return disassemble(assemble(tmp_path, "adds r0,#1; add.w r0,r1,r2"))


def test_a_block_is_cut_by_its_size(two_adds: Program) -> None:
    assert [i.size for i in block_instructions(two_adds, 0, 6)] == [2, 4]
    assert [i.size for i in block_instructions(two_adds, 0, 2)] == [2]


def test_counts_of_another_firmware_are_refused(two_adds: Program) -> None:
    with pytest.raises(ArtefactError, match="no instruction at 0x6"):
        block_instructions(two_adds, 0, 8)


def test_a_file_that_is_no_elf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("not an ELF")
    with pytest.raises(ArtefactError, match="format not recognized"):
        disassemble(path)


def test_missing_disassembler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="objdump is not installed"):
        disassemble(tmp_path / "code.o")
