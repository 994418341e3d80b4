"""The table that classifies mnemonics: Armv7E-M, Armv8.1-M, VFP and MVE."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_tiny.targets.cycles.instruction import Kind

# what may follow `it`, `vpst` and `vpt`
_THEN_ELSE = ("", *"te", "tt", "te", "et", "ee")
_THEN_ELSE += tuple(first + rest for first in "te" for rest in ("tt", "te", "et", "ee"))
_CONDITIONS = frozenset("eq ne cs cc hs lo mi pl vs vc hi ls ge lt gt le al".split())


def _blocks(stem: str) -> str:
    return " ".join(stem + tail for tail in _THEN_ELSE)


SCALAR_STEMS: Mapping[Kind, str] = {
    Kind.ALU: """adc add addw adr and asr bfc bfi bic cinc cinv clrm clz cmn cmp cneg csel cset
        csetm csinc csinv csneg eor lsl lsr mov movt movw mvn neg orn orr rbit rev rev16 revsh ror
        rrx rsb sbc sbfx ssat sub subw sxtab sxtah sxtb sxth teq tst ubfx usat uxtab uxtah uxtb
        uxth asrl lsll lsrl sqrshr sqrshrl sqshl sqshll srshr srshrl uqrshl uqrshll uqshl uqshll
        urshr urshrl""",
    Kind.DSP: """pkhbt pkhtb qadd qadd16 qadd8 qasx qdadd qdsub qsax qsub qsub16 qsub8 sadd16 sadd8
        sasx sel shadd16 shadd8 shasx shsax shsub16 shsub8 ssat16 ssax ssub16 ssub8 sxtab16 sxtb16
        uadd16 uadd8 uasx uhadd16 uhadd8 uhasx uhsax uhsub16 uhsub8 uqadd16 uqadd8 uqasx uqsax
        uqsub16 uqsub8 usad8 usada8 usat16 usax usub16 usub8 uxtab16 uxtb16""",
    Kind.MULTIPLY: """mul smmul smmulr smuad smuadx smulbb smulbt smultb smultt smulwb smulwt smusd
        smusdx""",
    Kind.MULTIPLY_ACCUMULATE: """mla mls smlabb smlabt smlad smladx smlatb smlatt smlawb smlawt
        smlsd smlsdx smmla smmlar smmls smmlsr""",
    Kind.LONG_MULTIPLY: "smull umull",
    Kind.LONG_MULTIPLY_ACCUMULATE: """smlal smlalbb smlalbt smlald smlaldx smlaltb smlaltt smlsld
        smlsldx umaal umlal""",
    Kind.DIVIDE: "sdiv udiv",
    # Arm 100166, load/store timings: "STREX is treated more like an LDR"
    Kind.LOAD: """lda ldab ldaex ldaexb ldaexh ldah ldr ldrb ldrbt ldrex ldrexb ldrexh ldrh ldrht
        ldrsb ldrsbt ldrsh ldrsht ldrt stlex stlexb stlexh strex strexb strexh""",
    Kind.LOAD_PAIR: "ldrd",
    Kind.LOAD_MULTIPLE: "ldm ldmdb ldmia pop",
    Kind.STORE: "stl stlb stlh str strb strbt strh strht strt",
    Kind.STORE_PAIR: "strd",
    Kind.STORE_MULTIPLE: "push stm stmdb stmia",
    Kind.BRANCH: "b",
    Kind.CONDITIONAL_BRANCH: "cbnz cbz",
    Kind.CALL: "bl",
    Kind.INDIRECT_BRANCH: "blx blxns bx bxns",
    Kind.TABLE_BRANCH: "tbb tbh",
    Kind.LOOP_START: "dls dlstp lctp wls wlstp",
    Kind.LOOP_END: "le letp",
    Kind.IT: _blocks("it"),
    Kind.SYSTEM: """bf bfcsel bfl bflx bfx bkpt clrex cpsid cpsie csdb dbg dmb dsb hlt isb mrs msr
        nop pld pli pssbb sev sg ssbb svc tt tta ttat ttt udf wfe wfi yield""",
    Kind.FLOAT_LOAD: "vldr",
    Kind.FLOAT_LOAD_MULTIPLE: "vldm vldmdb vldmia vlldm vpop",
    Kind.FLOAT_STORE: "vstr",
    Kind.FLOAT_STORE_MULTIPLE: "vlstm vpush vstm vstmdb vstmia",
    Kind.FLOAT_ARITHMETIC: """vabs vadd vcmp vcmpe vcvt vcvta vcvtb vcvtm vcvtn vcvtp vcvtr vcvtt
        vmaxnm vminnm vmul vneg vnmul vrinta vrintm vrintn vrintp vrintr vrintx vrintz vseleq
        vselge vselgt vselvs vsub""",
    Kind.FLOAT_MULTIPLY_ACCUMULATE: "vfma vfms vfnma vfnms vmla vmls vnmla vnmls",
    Kind.FLOAT_DIVIDE: "vdiv vsqrt",
    Kind.FLOAT_MOVE: "vins vmov vmovx",
    Kind.FLOAT_SYSTEM: "vmrs vmsr vscclrm",
    Kind.VECTOR_PREDICATE: "vctp vpnot " + _blocks("vpst"),
}

# which of the two arithmetic pipes: LLVM's ARMScheduleM55.td
VECTOR_STEMS: Mapping[Kind, str] = {
    Kind.VECTOR_LOAD: "vld20 vld21 vld40 vld41 vld42 vld43 vldrb vldrd vldrh vldrw",
    Kind.VECTOR_STORE: "vst20 vst21 vst40 vst41 vst42 vst43 vstrb vstrd vstrh vstrw",
    Kind.VECTOR_INTEGER: """vabav vabd vabs vadc vadci vadd vand vbic vbrsr vcadd vcls vclz vddup
        vdwdup veor vhadd vhcadd vhsub vidup viwdup vmax vmaxa vmaxav vmaxv vmin vmina vminav vminv
        vmovlb vmovlt vmovnb vmovnt vmvn vneg vorn vorr vpsel vqabs vqadd vqmovnb vqmovnt vqmovunb
        vqmovunt vqneg vqrshl vqrshrnb vqrshrnt vqrshrunb vqrshrunt vqshl vqshlu vqshrnb vqshrnt
        vqshrunb vqshrunt vqsub vrev16 vrev32 vrev64 vrhadd vrshl vrshr vrshrnb vrshrnt vsbc vsbci
        vshl vshlc vshllb vshllt vshr vshrnb vshrnt vsli vsri vsub""",
    Kind.VECTOR_MULTIPLY: f"""vaddlv vaddlva vaddv vaddva vcmla vcmp vcmul vcvt vcvta vcvtb vcvtm
        vcvtn vcvtp vcvtt vfma vfmas vfms vmaxnm vmaxnma vmaxnmav vmaxnmv vminnm vminnma vminnmav
        vminnmv vmla vmladav vmladava vmladavax vmladavx vmlaldav vmlaldava vmlaldavax vmlaldavx
        vmlalv vmlalva vmlas vmlav vmlava vmlsdav vmlsdava vmlsdavax vmlsdavx vmlsldav vmlsldava
        vmlsldavax vmlsldavx vmul vmulh vmullb vmullt vqdmladh vqdmladhx vqdmlah vqdmlash vqdmlsdh
        vqdmlsdhx vqdmulh vqdmullb vqdmullt vqrdmladh vqrdmladhx vqrdmlah vqrdmlash vqrdmlsdh
        vqrdmlsdhx vqrdmulh vrinta vrintm vrintn vrintp vrintx vrintz vrmlaldavh vrmlaldavha
        vrmlaldavhax vrmlaldavhx vrmlalvh vrmlalvha vrmlsldavh vrmlsldavha vrmlsldavhax vrmlsldavhx
        vrmulh {_blocks("vpt")}""",
    Kind.VECTOR_MOVE: "vdup vmov",
}


def _by_stem(table: Mapping[Kind, str]) -> Mapping[str, Kind]:
    return {stem: kind for kind, stems in table.items() for stem in stems.split()}


_SCALAR = _by_stem(SCALAR_STEMS)
_VECTOR = _by_stem(VECTOR_STEMS)


def _spellings(name: str) -> tuple[str, ...]:
    """`name` without a condition, without the S that sets flags, and without both."""
    plain = name[:-2] if name[-2:] in _CONDITIONS else name
    return name, plain, name.removesuffix("s"), plain.removesuffix("s")


def stem_of(mnemonic: str, *, vector: bool) -> str | None:
    """The table's name for `addseq.w` (`add`); None if the table does not know it."""
    name = mnemonic.split(".")[0]
    if vector:
        # the last letter says then or else inside a VPT block
        return next((stem for stem in (name, name[:-1]) if stem in _VECTOR), None)
    return next((stem for stem in _spellings(name) if stem in _SCALAR), None)


def kind_of(mnemonic: str, *, vector: bool) -> Kind:
    """The kind of an instruction as the disassembler spells it; `vector`: it names a `q`."""
    stem = stem_of(mnemonic, vector=vector)
    if stem is None:
        return Kind.UNKNOWN
    kind = (_VECTOR if vector else _SCALAR)[stem]
    if kind is Kind.BRANCH and mnemonic.split(".")[0] != stem:
        return Kind.CONDITIONAL_BRANCH
    if kind is Kind.VECTOR_INTEGER and ".f" in mnemonic:
        return Kind.VECTOR_MULTIPLY
    return kind
