"""Micro-kernels with their instructions in another order, for cores that gain by it.

Straight lines of code between labels and branches are put in order anew, each instruction behind
those that it depends on (instruction_graph.py). Instructions that move several words become one for
each word, which leaves more to choose from:

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from random import Random
from typing import Any

import tvm_ffi
from tvm import ir

from tvm_tiny.schedules.dialect import Kernel, Options, Variant
from tvm_tiny.schedules.instruction_graph import Choice, Names, Step, decoded, graph_of
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.schedules.single_words import single_words
from tvm_tiny.targets.cycles.estimate import PipelineModel
from tvm_tiny.targets.cycles.in_order import CORTEX_M4
from tvm_tiny.targets.cycles.instruction import Kind
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

_LABEL = re.compile(r"^\w+:$")
_BARRIERS = ("push", "pop", "it", "b", "bx", "bl", "bne", "beq", "bhi", "blo", "vpush", "vpop")
_KEPT_FUNCTIONS = 1 << 8


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
    done: list[str] = []
    for part in _parts(lines):
        done += part.best(order) if isinstance(part, _Straight) else [part]
    return tuple(done)


@lru_cache(_KEPT_FUNCTIONS)
def _parts(lines: tuple[str, ...]) -> tuple[_Straight | str, ...]:
    """Straight lines, and between them what has to stay where it is."""
    names = Names.of(lines)
    parts: list[_Straight | str] = []
    block: list[str] = []
    conditional = 0  # lines that an IT block still holds
    for line in (*lines, ""):
        if line and not conditional and not _is_barrier(line, names):
            block.append(line)
            continue
        is_it = line.startswith("it")
        conditional = len(line.split(" ")[0]) - 1 if is_it else max(conditional - 1, 0)
        parts += [_Straight(tuple(block), names)] if len(block) > 1 else block
        parts += [line] if line else []
        block = []
    return tuple(parts)


def _is_barrier(line: str, names: Names) -> bool:
    """Whether a line has to stay where it is, and all others on their side of it."""
    is_text = line.startswith(("/*", ".")) or "req " in line or _LABEL.match(line) is not None
    is_frame = re.match(r"(add|sub|mov)w? sp\b", line) is not None
    if is_text or is_frame or line.split(" ")[0] in _BARRIERS:
        return True
    instruction = decoded(line, names)
    return instruction.kind is Kind.UNKNOWN or instruction.writes_pc


@dataclass(frozen=True)
class _Straight:
    """Lines without a label or branch between them."""

    lines: tuple[str, ...]
    names: Names

    def best(self, order: str) -> list[str]:
        """The lines in the order that takes the fewest cycles, then the fewest lines."""
        split = tuple(word for line in self.lines for word in single_words(line))
        found: list[list[Step]] = []
        for lines in (self.lines, split):
            graph = graph_of(lines, self.names)
            given = tuple(range(len(lines)))
            tried = (graph.ordered(_CHOICES[order](), weight) for weight in _WEIGHTS)
            different = dict.fromkeys((given, *tried))
            found += [[graph.steps[i] for i in numbers] for numbers in different]
        best = min(found, key=lambda steps: (_cycles(steps, ORDERS[order]), len(steps)))
        return [step.line for step in best]


def _cycles(steps: Sequence[Step], model: PipelineModel) -> int:
    return model.block_cycles([step.instruction for step in steps])[0]


class _Earliest:
    """Takes what a core can issue first, and of that what most waits for."""

    def __init__(self, board: Scoreboard | Pipes) -> None:
        self.board = board

    def take(self, ready: Sequence[int], steps: Sequence[Step], heights: Sequence[float]) -> int:
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

    def take(self, ready: Sequence[int], steps: Sequence[Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""

        def is_other(i: int) -> bool:
            return (steps[i].instruction.kind is Kind.LOAD) != self.is_loading

        chosen = min(ready, key=lambda i: (is_other(i), -heights[i], i))
        self.is_loading = steps[chosen].instruction.kind is Kind.LOAD
        return chosen


class _Hoisted:
    """Takes loads whenever one is ready, and else what most waits for."""

    def take(self, ready: Sequence[int], steps: Sequence[Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""
        return min(ready, key=lambda i: (not steps[i].is_load, -heights[i], i))


class _Drawn:
    """Like `_Earliest` with heights that chance adds to."""

    def __init__(self) -> None:
        self.earliest = _Earliest(Scoreboard())
        self.random = Random(0)
        self.added: list[float] = []

    def take(self, ready: Sequence[int], steps: Sequence[Step], heights: Sequence[int]) -> int:
        """One of the steps that are ready."""
        if not self.added:
            self.added = [self.random.uniform(0, _CHANCE) + height for height in heights]
        return self.earliest.take(ready, steps, self.added)


_CHOICES: Mapping[str, Callable[[], Choice]] = {
    "paired": lambda: _Earliest(Scoreboard()),
    "grouped": _Grouped,
    "hoisted": _Hoisted,
    "drawn": _Drawn,
    "beats": lambda: _Earliest(Pipes()),
}
