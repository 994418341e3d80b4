"""From an ELF to instructions with their classes and registers, through objdump."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tvm_tiny.errors import ArtefactError, MissingToolError
from tvm_tiny.targets.cycles.instruction import Instruction, Kind, Program
from tvm_tiny.targets.cycles.mnemonics import kind_of, stem_of

# without -m it prints MVE as coprocessor instructions; older cores' code reads the same with it
_OBJDUMP = ("arm-none-eabi-objdump", "-d", "-w", "-m", "armv8.1-m.main", "-M", "reg-names-std")

_NOT_OPERANDS = re.compile(r"\s*(<.*>|[@;].*)$")
_REGISTER = re.compile(r"\b(r\d+|sp|lr|pc|fpscr|s\d+|d\d+|q\d+)\b")
_FLOAT_RANGE = re.compile(r"\b([sd])(\d+)-[sd](\d+)\b")
_WORDS = {"s": 1, "d": 2, "q": 4}
_MEMORY = re.compile(r"(?<!\w)\[([^\]]*)\](!|,)?")
_LIST = re.compile(r"\{([^}]*)\}")

_BRANCHES = frozenset(
    {
        Kind.BRANCH,
        Kind.CONDITIONAL_BRANCH,
        Kind.CALL,
        Kind.INDIRECT_BRANCH,
        Kind.TABLE_BRANCH,
        Kind.LOOP_END,
    }
)
_STORES = frozenset(
    {
        Kind.STORE,
        Kind.STORE_PAIR,
        Kind.STORE_MULTIPLE,
        Kind.FLOAT_STORE,
        Kind.FLOAT_STORE_MULTIPLE,
        Kind.VECTOR_STORE,
    }
)
_MULTIPLE = frozenset(
    {
        Kind.LOAD_MULTIPLE,
        Kind.STORE_MULTIPLE,
        Kind.FLOAT_LOAD_MULTIPLE,
        Kind.FLOAT_STORE_MULTIPLE,
    }
)
_ACCUMULATES = frozenset(
    {Kind.LONG_MULTIPLY_ACCUMULATE, Kind.FLOAT_MULTIPLY_ACCUMULATE, Kind.VECTOR_MULTIPLY}
)
_NO_RESULT = frozenset("cmn cmp msr pld pli teq tst vcmp vcmpe vmsr".split())
# the flags of the core are left out: no model waits for them
_IMPLIED_RESULTS = {"bl": {"lr"}, "blx": {"lr"}, "vcmp": {"fpscr"}, "vcmpe": {"fpscr"}}
_READS_RESULT = frozenset("bfc bfi movt vins".split())
_ONE_SOURCE = frozenset(
    """adr cinc cinv clz cneg cset csetm mov movw mvn neg rbit rev rev16 revsh rrx sxtb sxth uxtb
    uxth""".split()
)
_TWO_RESULTS = frozenset(
    """asrl ldrd lsll lsrl smlal smlalbb smlalbt smlald smlaldx smlaltb smlaltt smlsld smlsldx smull
    sqrshrl sqshll srshrl umaal umlal umull uqrshll uqshll urshrl vaddlv vaddlva vddup vdwdup vidup
    viwdup vmlaldav vmlaldava vmlaldavax vmlaldavx vmlalv vmlalva vmlsldav vmlsldava vmlsldavax
    vmlsldavx vrmlaldavh vrmlaldavha vrmlaldavhax vrmlaldavhx vrmlalvh vrmlalvha vrmlsldavh
    vrmlsldavha vrmlsldavhax vrmlsldavhx vshlc""".split()
)


class _Text(NamedTuple):
    """An instruction as the disassembler prints it, without its address."""

    size: int
    mnemonic: str
    operands: str
    in_it_block: bool


class _Listing(Mapping[int, Instruction]):
    """A disassembly whose instructions are decoded when they are asked for: few ever are."""

    def __init__(self, texts: Mapping[int, _Text]) -> None:
        self._texts = texts

    def __getitem__(self, address: int) -> Instruction:
        return _decode(self._texts[address])

    def __contains__(self, address: object) -> bool:
        return address in self._texts

    def __iter__(self) -> Iterator[int]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def disassemble(elf: Path) -> Program:
    """Every instruction of a linked ELF by its address."""
    try:
        done = subprocess.run([*_OBJDUMP, str(elf)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingToolError(
            f"{_OBJDUMP[0]} is not installed", hint="install the GNU Arm embedded toolchain"
        ) from None
    if done.returncode:
        raise ArtefactError(done.stderr.strip(), where=str(elf))
    return _Listing(dict(_parse(done.stdout.splitlines())))


def decode_line(text: str) -> Instruction:
    """An instruction as assemblers read it; as far as is known, of four bytes."""
    mnemonic, _, operands = text.partition(" ")
    return _decode(_Text(4, mnemonic, operands.strip(), in_it_block=False))


def block_instructions(program: Program, address: int, size: int) -> tuple[Instruction, ...]:
    """The instructions in `size` bytes from `address`."""
    found = []
    end = address + size
    while address < end:
        if address not in program:
            raise ArtefactError(
                f"no instruction at {address:#x}", hint="counts of another firmware than this ELF"
            )
        found.append(program[address])
        address += found[-1].size
    return tuple(found)


def _parse(lines: Iterable[str]) -> Iterator[tuple[int, _Text]]:
    """Addresses and instructions in the order of the text, which IT blocks depend on."""
    left_in_block = 0
    for line in lines:
        place, *columns = line.split("\t", 3)
        if not columns or not place.endswith(":"):
            continue
        code, mnemonic, operands = (*columns, "", "")[:3]
        if mnemonic.startswith("."):
            continue
        size, mnemonic = len(code.replace(" ", "")) // 2, mnemonic.rstrip()
        yield int(place[:-1], 16), _Text(size, mnemonic, operands, left_in_block > 0)
        left_in_block = max(0, left_in_block - 1)
        if mnemonic.startswith("it") and kind_of(mnemonic, vector=False) is Kind.IT:
            left_in_block = len(mnemonic) - 1


@lru_cache(1 << 16)
def _decode(printed: _Text) -> Instruction:
    """The instruction, the same one for the same text."""
    mnemonic = printed.mnemonic
    text = _NOT_OPERANDS.sub("", _NOT_OPERANDS.sub("", printed.operands))
    vector = mnemonic.startswith("v") and re.search(r"\bq\d", text) is not None
    kind = kind_of(mnemonic, vector=vector)
    stem = stem_of(mnemonic, vector=vector) or mnemonic
    address_registers, writeback = _addressing(kind, stem, text)
    read, written = _results_and_sources(kind, stem, text)
    read |= set(address_registers)
    if writeback:
        written |= set(address_registers[:1])
    written |= _IMPLIED_RESULTS.get(stem, set())
    return Instruction(
        size=printed.size,
        mnemonic=mnemonic,
        operands=text,
        kind=kind,
        registers_read=frozenset(read),
        registers_written=frozenset(written),
        address_registers=address_registers,
        writeback=writeback,
        register_count=_register_count(kind, text),
        writes_pc=kind in _BRANCHES or "pc" in written,
        in_it_block=printed.in_it_block,
    )


def _registers(text: str) -> list[str]:
    """Register names in their order; a `d` or `q` becomes the `s` registers it holds."""
    text = _FLOAT_RANGE.sub(
        lambda m: " ".join(f"{m[1]}{number}" for number in range(int(m[2]), int(m[3]) + 1)), text
    )
    names: list[str] = []
    for name in _REGISTER.findall(text):
        words = _WORDS.get(name[0]) if name[1:].isdigit() else None
        if words is None:
            names.append(name)
        else:
            first = words * int(name[1:])
            names += [f"s{number}" for number in range(first, first + words)]
    return names


def _addressing(kind: Kind, stem: str, text: str) -> tuple[tuple[str, ...], bool]:
    """The registers of the address, base first, and whether the base is written back."""
    if stem in ("push", "pop", "vpush", "vpop"):
        return ("sp",), True
    if kind in _MULTIPLE:
        base = text.split(",")[0]
        return tuple(_registers(base)), "!" in base
    memory = _MEMORY.search(text)
    if memory is None:
        return (), False
    return tuple(_registers(memory[1])), memory[2] is not None


def _results_and_sources(kind: Kind, stem: str, text: str) -> tuple[set[str], set[str]]:
    """The registers read and written, those of the address left out."""
    if kind in _MULTIPLE:
        listed = _LIST.search(text)
        registers = set(_registers(listed[1])) if listed else set()
        return (registers, set()) if kind in _STORES else (set(), registers)
    data = _MEMORY.sub("", text)
    groups = [_registers(part) for part in _split(data)]
    results = _result_count(kind, stem, groups)
    written = {register for group in groups[:results] for register in group}
    read = {register for group in groups[results:] for register in group}
    if _reads_result(kind, stem, len(groups)):
        read |= written
    return read, written


def _split(text: str) -> list[str]:
    """Operands, a register list in braces being one."""
    return [part.strip() for part in re.findall(r"\{[^}]*\}|[^,{}]+", text) if part.strip()]


def _result_count(kind: Kind, stem: str, groups: list[list[str]]) -> int:
    """How many of the first operands are written."""
    if kind in _STORES or kind in _BRANCHES or stem in _NO_RESULT:
        return 0
    if stem == "vmov" and len(groups) > 2:
        # `vmov d0, r0, r1` writes one operand, the three other transfers of a pair two
        return 1 if len(groups) == 3 and groups[0][0].startswith("s") else 2
    return 2 if stem in _TWO_RESULTS else 1


def _reads_result(kind: Kind, stem: str, operand_count: int) -> bool:
    if kind in _ACCUMULATES or stem in _READS_RESULT:
        return True
    two_operands = kind in (Kind.ALU, Kind.MULTIPLY) and operand_count == 2
    return two_operands and stem not in _ONE_SOURCE


def _register_count(kind: Kind, text: str) -> int:
    """Words that a load or store moves; core registers that a `vmov` moves; otherwise 1."""
    if kind in (Kind.LOAD_PAIR, Kind.STORE_PAIR):
        return 2
    if kind in _MULTIPLE:
        listed = _LIST.search(text)
        return len(_registers(listed[1])) if listed else 1
    if kind in (Kind.FLOAT_LOAD, Kind.FLOAT_STORE):
        return max(1, len(_registers(text.split(",")[0])))
    if kind is Kind.FLOAT_MOVE:
        return max(1, sum(not name.startswith("s") for name in _registers(text)))
    return 1
