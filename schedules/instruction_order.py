"""Micro-kernels with their instructions in another order, for cores that gain by it.

Straight lines of code between labels and branches are put in order anew, each instruction behind
those that it depends on, so that results are the same by construction. Instructions that move
several words become one for each word, which leaves more to choose from:

    paired    loads and sums beside products, for cores that issue two instructions in a cycle
    grouped   loads one after the other, of which all but the first take one cycle on cores that
              issue one
    hoisted   loads as early as registers allow, for cores that issue two instructions in a cycle
    drawn     like `paired`, the best of several in which chance decides between steps alike
    beats     vector loads and sums beside vector products, on cores with Helium

Both take more instructions than the code they are made of, and fewer cycles. The core's own model
of cycles decides between several orders, and a line stays as it was where none is better.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import tvm_ffi
from tvm import ir

from tvm_tiny.schedules.dialect import Kernel, Options, Variant
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.schedules.single_words import single_words
from tvm_tiny.targets.cycles.decode import decode_line
from tvm_tiny.targets.cycles.estimate import PipelineModel
from tvm_tiny.targets.cycles.in_order import CORTEX_M4
from tvm_tiny.targets.cycles.instruction import Instruction, Kind
from tvm_tiny.targets.cycles.m7 import CORTEX_M7, Scoreboard
from tvm_tiny.targets.cycles.m55 import CORTEX_M55, Pipes

# and whose cycles count
ORDERS: Mapping[str, PipelineModel] = {
    "paired": CORTEX_M7,
    "grouped": CORTEX_M4,
    "hoisted": CORTEX_M7,
    "drawn": CORTEX_M7,
    "beats": CORTEX_M55,
}
_EACH: tuple[Options, ...] = tuple(
    {"order": order} for order in ("paired", "grouped", "hoisted", "drawn")
)

_WEIGHTS = (0, 1, 4)  # of results, to be tried
_CHANCE = 2.0  # cycles, of `drawn`

_RANGE = re.compile(r"\br(\d+)-r(\d+)\b")
_LABEL = re.compile(r"^\w+:$")
_BARRIERS = ("push", "pop", "it", "b", "bx", "bl", "bne", "beq", "bhi", "blo", "vpush", "vpop")
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


@dataclass(frozen=True)
class _InOrder:
    """A variant's maker with an option more."""

    make: Callable[..., Kernel | None]

    def __call__(self, *call: Any, order: str = "", **options: Any) -> Kernel | None:
        kernel = self.make(*call, **options)
        return kernel_in_order(kernel, order) if kernel and order else kernel


ORDER = "order"  # the option


def in_orders(variant: Variant) -> Variant:
    """A variant that has its micro-kernels in each of `ORDERS` too, beside options of its own."""

    def options(*call: Any) -> list[Options]:
        own: list[Options] = [{}, *variant.options(*call)]
        every: list[Options] = [{**point, **order} for point in own for order in ({}, *_EACH)]
        return [point for point in every if point]

    return replace(variant, kernel=_InOrder(variant.kernel), options=options)


def kernel_in_order(kernel: Kernel, order: str) -> Kernel | None:
    """The kernel with its micro-kernels in an order; None where that changes nothing."""
    functions = tuple(reordered(function, order) for function in kernel.microkernels)
    if functions == kernel.microkernels:
        return None
    olds = (function.name for function in kernel.microkernels)
    names = dict(zip(olds, (function.name for function in functions), strict=True))

    def renamed(text: ir.StringImm) -> ir.StringImm:
        name = str(text.value)
        return ir.StringImm(names[name]) if name in names else text

    function = tvm_ffi.structural_map(kernel.function, (ir.StringImm, renamed))
    return replace(kernel, function=function, microkernels=functions)


@cache
def reordered(function: MicroKernel, order: str) -> MicroKernel:
    """The function in an order of `ORDERS`; itself where nothing is gained by one."""
    lines = _reordered_lines(function.assembly, order)
    if lines == function.assembly:
        return function
    return replace(function, name=f"{function.name}_{order}", assembly=lines)


def _reordered_lines(lines: tuple[str, ...], order: str) -> tuple[str, ...]:
    names = dict(_declared(lines))
    done: list[str] = []
    block: list[str] = []
    conditional = 0  # lines that an IT block still holds
    for line in (*lines, ""):
        if line and not conditional and not _is_barrier(line, names):
            block.append(line)
            continue
        is_it = line.startswith("it")
        conditional = len(line.split(" ")[0]) - 1 if is_it else max(conditional - 1, 0)
        done += _best_order(block, names, order)
        done += [line] if line else []
        block = []
    return tuple(done)


def _declared(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, mark, register = line.partition(" .req ")
        if mark:
            yield name, register


def _is_barrier(line: str, names: Mapping[str, str]) -> bool:
    """Whether a line has to stay where it is, and all others on their side of it."""
    is_text = line.startswith(("/*", ".")) or "req " in line or _LABEL.match(line) is not None
    is_frame = re.match(r"(add|sub|mov)w? sp\b", line) is not None
    if is_text or is_frame or line.split(" ")[0] in _BARRIERS:
        return True
    instruction = _decoded(line, names)
    return instruction.kind is Kind.UNKNOWN or instruction.writes_pc


def _decoded(line: str, names: Mapping[str, str]) -> Instruction:
    """What a line is, with registers for their names and for ranges of them."""
    line = _RANGE.sub(lambda found: _registers(int(found[1]), int(found[2])), line)
    return decode_line(re.sub(r"\w+", lambda word: names.get(word[0], word[0]), line))


def _registers(first: int, last: int) -> str:
    return ", ".join(f"r{number}" for number in range(first, last + 1))


@dataclass(frozen=True)
class _Step:
    """A line, what it is, and what it reads and writes; `base` is the name of its address."""

    line: str
    instruction: Instruction
    reads: frozenset[str]
    writes: frozenset[str]
    base: str

    @staticmethod
    def of(line: str, names: Mapping[str, str]) -> _Step:
        instruction = _decoded(line, names)
        reads, writes = set(instruction.registers_read), set(instruction.registers_written)
        mnemonic = line.split(" ")[0].split(".")[0]
        if mnemonic in _FLAGS_READ:
            reads.add(_FLAGS)
        if mnemonic in _COMPARES or (mnemonic.endswith("s") and instruction.kind is Kind.ALU):
            writes.add(_FLAGS)
        address = re.search(r"\[(\w+)", line) or re.match(r"\S+ (\w+)", line)
        base = address[1] if address else ""
        return _Step(line, instruction, frozenset(reads), frozenset(writes), base)

    @property
    def is_load(self) -> bool:
        return self.instruction.kind in _LOADS

    @property
    def is_store(self) -> bool:
        return self.instruction.kind in _STORES

    def meets(self, earlier: _Step) -> bool:
        """Whether both may touch the same memory, one of them to write it."""
        if self.is_store and earlier.is_store:
            return True
        if self.is_store and earlier.is_load:
            return earlier.base not in _APART.get(self.base, ())
        if self.is_load and earlier.is_store:
            return self.base not in _APART.get(earlier.base, ())
        return False


def _best_order(block: Sequence[str], names: Mapping[str, str], order: str) -> list[str]:
    """The lines of a block in the order that takes the fewest cycles, then the fewest lines."""
    if len(block) < 2:
        return list(block)
    model = ORDERS[order]
    split = [word for line in block for word in single_words(line)]
    found = []
    for lines in (list(block), split):
        steps = [_Step.of(line, names) for line in lines]
        graph = _Graph(steps)
        found += [steps, *(graph.ordered(_CHOICES[order](), weight) for weight in _WEIGHTS)]
    best = min(found, key=lambda steps: (_cycles(steps, model), len(steps)))
    return [step.line for step in best]


def _cycles(steps: Sequence[_Step], model: PipelineModel) -> int:
    return model.block_cycles([step.instruction for step in steps])[0]


class _Earliest:
    """Takes what a core can issue first, and of that what most waits for."""

    def __init__(self, board: Scoreboard | Pipes) -> None:
        self.board = board

    def take(self, ready: Sequence[int], steps: Sequence[_Step], heights: Sequence[float]) -> int:
        """One of the steps that are ready."""
        chosen = min(
            ready,
            key=lambda i: (self.board.cycle_of(steps[i].instruction), -heights[i], i),
        )
        self.board.issue(steps[chosen].instruction)
        return chosen


class _Grouped:
    """Puts loads off until nothing else is left, and then takes all at once."""

    def __init__(self) -> None:
        self.is_loading = False

    def take(self, ready: Sequence[int], steps: Sequence[_Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""

        def is_other(i: int) -> bool:
            return (steps[i].instruction.kind is Kind.LOAD) != self.is_loading

        chosen = min(ready, key=lambda i: (is_other(i), -heights[i], i))
        self.is_loading = steps[chosen].instruction.kind is Kind.LOAD
        return chosen


class _Hoisted:
    """Takes loads whenever one is ready, and else what most waits for."""

    def take(self, ready: Sequence[int], steps: Sequence[_Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""
        return min(ready, key=lambda i: (not steps[i].is_load, -heights[i], i))


class _Drawn:
    """Like `_Earliest` with heights that chance adds to."""

    def __init__(self) -> None:
        self.earliest = _Earliest(Scoreboard())
        self.random = Random(0)
        self.added: list[float] = []

    def take(self, ready: Sequence[int], steps: Sequence[_Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""
        if not self.added:
            self.added = [self.random.uniform(0, _CHANCE) + height for height in heights]
        return self.earliest.take(ready, steps, self.added)


Choice = _Earliest | _Grouped | _Hoisted | _Drawn

_CHOICES: Mapping[str, Callable[[], Choice]] = {
    "paired": lambda: _Earliest(Scoreboard()),
    "grouped": _Grouped,
    "hoisted": _Hoisted,
    "drawn": _Drawn,
    "beats": lambda: _Earliest(Pipes()),
}


class _Graph:
    """Steps and what each has to wait for; what follows from others may be left out."""

    def __init__(self, steps: Sequence[_Step]) -> None:
        self.steps = steps
        self.before = [self._waits(i, step) for i, step in enumerate(steps)]
        self.behind: list[list[int]] = [[] for _ in steps]
        for i, earlier in enumerate(self.before):
            for j in earlier:
                self.behind[j].append(i)

    def _waits(self, number: int, step: _Step) -> set[int]:
        """Of each register the last step that wrote it and, to write it, those that read it since.

        In memory all that may be the same.
        """
        found: set[int] = set()
        unmet, touched = set(step.reads | step.writes), step.is_load or step.is_store
        for j in range(number - 1, -1, -1):
            earlier = self.steps[j]
            if earlier.writes & unmet or earlier.reads & unmet & step.writes:
                found.add(j)
                unmet -= earlier.writes
            elif touched and step.meets(earlier):
                found.add(j)
            if not unmet and not touched:
                break
        return found

    def ordered(self, choice: Choice, weight: int) -> list[_Step]:
        """The steps in an order of choice in which each stands behind all that it waits for.

        Results are taken to be ready `weight` cycles later than they are: chains begin sooner.
        """
        steps, heights = self.steps, [0] * len(self.steps)
        for i in reversed(range(len(steps))):
            below = (heights[j] + _latency(steps[i], steps[j], weight) for j in self.behind[i])
            heights[i] = max(below, default=0)
        left = [len(earlier) for earlier in self.before]
        ready = [i for i, count in enumerate(left) if not count]
        taken = []
        while ready:
            chosen = choice.take(ready, steps, heights)
            ready.remove(chosen)
            taken.append(steps[chosen])
            for j in self.behind[chosen]:
                left[j] -= 1
                if not left[j]:
                    ready.append(j)
        return taken


def _latency(earlier: _Step, later: _Step, weight: int) -> int:
    """About how many cycles lie between two steps of which the later waits."""
    if earlier.instruction.results & later.reads:
        return weight + (2 if earlier.is_load else 1)
    return 1 if earlier.writes & later.reads else 0
