"""What each instruction of a straight line of code waits for.

Steps may come in any order in which each stands behind all that it waits for: results are the same
by construction. Graphs are kept, since each is asked for many orders, and since micro-kernels of
different layers have most of their lines in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from tvm_tiny.targets.cycles.decode import decode_line
from tvm_tiny.targets.cycles.instruction import Instruction, Kind

_KEPT_LINES, _KEPT_GRAPHS = 1 << 15, 1 << 11

_RANGE = re.compile(r"\br(\d+)-r(\d+)\b")
_FLAGS_READ = ("adc", "adcs", "sbc", "sbcs", "rrx", "sel")
_COMPARES = ("cmp", "cmn", "tst", "teq")
_FLAGS = "flags"
_LOADS = (Kind.LOAD, Kind.LOAD_PAIR, Kind.LOAD_MULTIPLE, Kind.VECTOR_LOAD)
_STORES = (Kind.STORE, Kind.STORE_PAIR, Kind.STORE_MULTIPLE, Kind.VECTOR_STORE)
# Base registers of buffers that share no byte: what is stored to, and what is loaded from then.
# Outputs may lie over inputs (`image`, `bytes`), constants and scratch are apart from both.
_APART: Mapping[str, frozenset[str]] = {
    "y": frozenset(("words", "stream", "sp", "plane", "table", "parameters")),
    "y1": frozenset(("words", "stream", "sp", "parameters")),
    "words": frozenset(("stream", "bytes", "image", "sp")),
    "plane": frozenset(("image",)),
    "sp": frozenset(("stream", "words")),
    "x0": frozenset(("stream", "words")),
}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Names:
    """Names of registers and the registers, in the order of their declarations."""

    declared: tuple[tuple[str, str], ...]

    @staticmethod
    def of(lines: Iterable[str]) -> Names:
        """Those that lines of assembly declare."""
        pairs = (line.partition(" .req ") for line in lines)
        return Names(tuple((name, register) for name, mark, register in pairs if mark))

    @cached_property
    def registers(self) -> Mapping[str, str]:
        """The register of each name."""
        return dict(self.declared)


@lru_cache(_KEPT_LINES)
def decoded(line: str, names: Names) -> Instruction:
    """What a line is, with registers for their names and for ranges of them."""
    line = _RANGE.sub(lambda found: _registers(int(found[1]), int(found[2])), line)
    return decode_line(re.sub(r"\w+", lambda word: names.registers.get(word[0], word[0]), line))


def _registers(first: int, last: int) -> str:
    return ", ".join(f"r{number}" for number in range(first, last + 1))


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A line, what it is, and what it reads and writes; `base` is the name of its address."""

    line: str
    instruction: Instruction
    reads: frozenset[str]
    writes: frozenset[str]
    base: str
    is_load: bool
    is_store: bool

    @staticmethod
    def of(line: str, names: Names) -> Step:
        """The step of a line."""
        instruction = decoded(line, names)
        reads, writes = set(instruction.registers_read), set(instruction.registers_written)
        mnemonic = line.split(" ")[0].split(".")[0]
        if mnemonic in _FLAGS_READ:
            reads.add(_FLAGS)
        if mnemonic in _COMPARES or (mnemonic.endswith("s") and instruction.kind is Kind.ALU):
            writes.add(_FLAGS)
        address = re.search(r"\[(\w+)", line) or re.match(r"\S+ (\w+)", line)
        return Step(
            line,
            instruction,
            frozenset(reads),
            frozenset(writes),
            base=address[1] if address else "",
            is_load=instruction.kind in _LOADS,
            is_store=instruction.kind in _STORES,
        )


class Choice(Protocol):
    """Decides what comes next; of one order, whose state it may keep."""

    def take(self, ready: Sequence[int], steps: Sequence[Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready; `heights` say how many cycles lie behind each."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """A later step, and about how many cycles lie before it; more where it needs the result."""

    step: int
    latency: int
    is_for_result: bool


class Graph:
    """Steps and what each has to wait for; what follows from others may be left out."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps` in an order that is right."""
        self.steps = tuple(steps)
        before = list(_waits(self.steps))
        self._counts = [len(earlier) for earlier in before]
        self._behind: list[list[_Wait]] = [[] for _ in steps]
        for i, earlier in enumerate(before):
            for j in earlier:
                self._behind[j].append(_wait(self.steps[j], i, self.steps[i]))
        self._heights: dict[int, list[int]] = {}

    def ordered(self, choice: Choice, weight: int) -> tuple[int, ...]:
        """The steps' numbers in an order of choice.

        Results are taken to be ready `weight` cycles later than they are: chains begin sooner.
        """
        heights, left = self._heights_of(weight), list(self._counts)
        ready = [i for i, count in enumerate(left) if not count]
        taken = []
        while ready:
            chosen = choice.take(ready, self.steps, heights)
            ready.remove(chosen)
            taken.append(chosen)
            for wait in self._behind[chosen]:
                left[wait.step] -= 1
                if not left[wait.step]:
                    ready.append(wait.step)
        return tuple(taken)

    def _heights_of(self, weight: int) -> list[int]:
        """About how many cycles lie between each step and the end."""
        if weight not in self._heights:
            heights = [0] * len(self.steps)
            for i in reversed(range(len(heights))):
                for wait in self._behind[i]:
                    height = heights[wait.step] + wait.latency + weight * wait.is_for_result
                    heights[i] = max(heights[i], height)
            self._heights[weight] = heights
        return self._heights[weight]


@lru_cache(_KEPT_GRAPHS)
def graph_of(lines: tuple[str, ...], names: Names) -> Graph:
    """The graph of lines."""
    return Graph([Step.of(line, names) for line in lines])


def _waits(steps: Sequence[Step]) -> Iterable[set[int]]:
    """Of each register the last step that wrote it and, to write it, those that read it since.

    In memory all that may be the same.
    """
    writer: dict[str, int] = {}
    readers: defaultdict[str, set[int]] = defaultdict(set)  # since the register was written
    loads: defaultdict[str, set[int]] = defaultdict(set)  # by their bases
    stores: defaultdict[str, set[int]] = defaultdict(set)
    for i, step in enumerate(steps):
        found = {writer[register] for register in step.reads | step.writes if register in writer}
        found = found.union(*(readers[register] for register in step.writes))
        if step.is_store:
            apart = _APART.get(step.base, _NOTHING)
            met = (numbers for base, numbers in loads.items() if base not in apart)
            found = found.union(*met, *stores.values())
            stores[step.base].add(i)
        if step.is_load:
            is_met = (base for base in stores if step.base not in _APART.get(base, _NOTHING))
            found = found.union(*(stores[base] for base in is_met))
            loads[step.base].add(i)
        for register in step.writes:
            writer[register] = i
            readers[register] = set()
        for register in step.reads - step.writes:
            readers[register].add(i)
        yield found - {i}


def _wait(earlier: Step, number: int, later: Step) -> _Wait:
    if earlier.instruction.results & later.reads:
        return _Wait(number, 2 if earlier.is_load else 1, True)
    return _Wait(number, 1 if earlier.writes & later.reads else 0, False)
