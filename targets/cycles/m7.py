"""Cortex-M7: two instructions a cycle, in order, on a scoreboard.

Arm publishes no timings, so this is an approximation: pairing rules that others observed (one
shifter a cycle, DSP only as the first of a pair) and latencies set so that the published times of
two TinyEngine networks fit. www.quinapalus.com/cm7cycles.html has measurements to refine it with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

from tvm_tiny.targets.cycles.instruction import Instruction, Kind

_ISSUE_WIDTH = 2
_KEPT = 1 << 14  # instructions and pairs of them
_SHIFTED = re.compile(r"\b(lsl|lsr|asr|ror) #")
_SHIFTS = ("ubfx", "sbfx", "bfi", "bfc", "uxt", "sxt", "lsl", "lsr", "asr", "ror")


class _Unit(Enum):
    ALU = auto()
    LOAD = auto()
    STORE = auto()
    MULTIPLY = auto()
    DSP = auto()
    DIVIDE = auto()
    FLOAT = auto()
    BRANCH = auto()


_UNITS: Mapping[Kind, _Unit] = {
    Kind.LOAD: _Unit.LOAD,
    Kind.LOAD_PAIR: _Unit.LOAD,
    Kind.LOAD_MULTIPLE: _Unit.LOAD,
    Kind.FLOAT_LOAD: _Unit.LOAD,
    Kind.FLOAT_LOAD_MULTIPLE: _Unit.LOAD,
    Kind.STORE: _Unit.STORE,
    Kind.STORE_PAIR: _Unit.STORE,
    Kind.STORE_MULTIPLE: _Unit.STORE,
    Kind.FLOAT_STORE: _Unit.STORE,
    Kind.FLOAT_STORE_MULTIPLE: _Unit.STORE,
    Kind.MULTIPLY: _Unit.MULTIPLY,
    Kind.MULTIPLY_ACCUMULATE: _Unit.MULTIPLY,
    Kind.LONG_MULTIPLY: _Unit.MULTIPLY,
    Kind.LONG_MULTIPLY_ACCUMULATE: _Unit.MULTIPLY,
    Kind.DSP: _Unit.DSP,
    Kind.DIVIDE: _Unit.DIVIDE,
    Kind.FLOAT_ARITHMETIC: _Unit.FLOAT,
    Kind.FLOAT_MULTIPLY_ACCUMULATE: _Unit.FLOAT,
    Kind.FLOAT_DIVIDE: _Unit.FLOAT,
    Kind.BRANCH: _Unit.BRANCH,
    Kind.CONDITIONAL_BRANCH: _Unit.BRANCH,
    Kind.CALL: _Unit.BRANCH,
    Kind.INDIRECT_BRANCH: _Unit.BRANCH,
    Kind.TABLE_BRANCH: _Unit.BRANCH,
}
# there are two arithmetic units, and two loads of different banks go together
_SHARED_UNITS = frozenset({_Unit.ALU, _Unit.LOAD})
_MEMORY_UNITS = frozenset({_Unit.LOAD, _Unit.STORE})

# cycles until a result can be used, 1 where the table has none; an accumulator is forwarded
_LATENCY: Mapping[Kind, int] = {
    Kind.MULTIPLY: 2,
    Kind.LONG_MULTIPLY: 2,
    Kind.FLOAT_LOAD: 2,
    Kind.FLOAT_ARITHMETIC: 3,
    Kind.FLOAT_MULTIPLY_ACCUMULATE: 6,
}
_LOADS = frozenset({Kind.LOAD, Kind.LOAD_PAIR})
_LOAD_TO_ADDRESS = 2
_LOAD_TO_ALU = 2
_LOAD_TO_MULTIPLY_OR_SHIFT = 1
# cycles in which nothing else is issued
_BLOCKING: Mapping[Kind, int] = {Kind.DIVIDE: 7, Kind.FLOAT_DIVIDE: 13}
_MULTIPLE = frozenset(
    {
        Kind.LOAD_MULTIPLE,
        Kind.STORE_MULTIPLE,
        Kind.FLOAT_LOAD_MULTIPLE,
        Kind.FLOAT_STORE_MULTIPLE,
    }
)
# a predicted branch to an encoded target; one to an address in a register or in memory
_DIRECT = frozenset({Kind.BRANCH, Kind.CONDITIONAL_BRANCH, Kind.CALL})
_DIRECT_TAKEN = 1
_INDIRECT_TAKEN = 2


def _unit(instruction: Instruction) -> _Unit:
    return _UNITS.get(instruction.kind, _Unit.ALU)


def _shifts(instruction: Instruction) -> bool:
    """Whether it needs the one barrel shifter; extensions and bit fields do too."""
    if instruction.mnemonic.startswith(_SHIFTS):
        return True
    return _SHIFTED.search(instruction.operands) is not None


def _blocking_cycles(instruction: Instruction) -> int:
    if instruction.kind in _MULTIPLE:
        return (instruction.register_count + 1) // 2
    return _BLOCKING.get(instruction.kind, 0)


def _taken_cycles(instruction: Instruction) -> int:
    if not instruction.writes_pc:
        return 0
    return _DIRECT_TAKEN if instruction.kind in _DIRECT else _INDIRECT_TAKEN


def _load_latency(instruction: Instruction, register: str) -> int:
    """Cycles from a load to the issue of `instruction`, which reads the loaded register."""
    if register in instruction.address_registers:
        return _LOAD_TO_ADDRESS
    if _unit(instruction) in (_Unit.MULTIPLY, _Unit.DSP) or _shifts(instruction):
        return _LOAD_TO_MULTIPLY_OR_SHIFT
    return _LOAD_TO_ALU


def _conflict(first: Instruction, second: Instruction) -> bool:
    """Whether the second of two independent instructions must wait for the next cycle."""
    units = {_unit(first), _unit(second)}
    if _unit(second) is _Unit.DSP or units == _MEMORY_UNITS:
        return True
    if units == {_Unit.ALU}:
        return _shifts(first) and _shifts(second)
    return len(units) == 1 and not units & _SHARED_UNITS


@dataclass(frozen=True, eq=False, slots=True)
class _Timing:
    """What of an instruction the scoreboard needs; searches for orders ask for it very often."""

    instruction: Instruction
    reads: tuple[tuple[str, int], ...]  # registers, and cycles from a load of each to this
    writes: tuple[tuple[str, int], ...]  # registers, and cycles until each is ready
    loads: tuple[str, ...]
    blocking: int

    @staticmethod
    def of(instruction: Instruction) -> _Timing:
        latency = _LATENCY.get(instruction.kind, 1)
        results = instruction.results
        return _Timing(
            instruction,
            tuple((r, _load_latency(instruction, r)) for r in instruction.registers_read),
            tuple((r, latency if r in results else 1) for r in instruction.registers_written),
            tuple(results) if instruction.kind in _LOADS else (),
            _blocking_cycles(instruction),
        )


_timing = lru_cache(_KEPT)(_Timing.of)
_conflicts = lru_cache(_KEPT)(_conflict)


@dataclass
class Scoreboard:
    """The cycle that issues now, what it issued, and when registers are ready."""

    cycle: int = 0
    issued: list[Instruction] = field(default_factory=list)
    ready: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)

    def issue(self, instruction: Instruction) -> None:
        """Give the instruction the first cycle that has its operands and a unit for it."""
        timing = _timing(instruction)
        self._wait_until(self.cycle_of(instruction))
        self.issued.append(instruction)
        for register, latency in timing.writes:
            self.loaded.pop(register, None)
            self.ready[register] = self.cycle + latency
        for register in timing.loads:
            self.loaded[register] = self.cycle
        self._wait_until(self.cycle + timing.blocking)

    def cycle_of(self, instruction: Instruction) -> int:
        """The cycle that an instruction would be issued in if it came next."""
        cycle = self.cycle
        for register, after_load in _timing(instruction).reads:
            loaded = self.loaded.get(register)
            ready = self.ready.get(register, 0) if loaded is None else loaded + after_load
            if ready > cycle:
                cycle = ready
        return cycle if cycle > self.cycle or self._has_room(instruction) else cycle + 1

    def _has_room(self, instruction: Instruction) -> bool:
        """Whether it may be issued beside what the cycle issued already."""
        if not self.issued:
            return True
        return len(self.issued) < _ISSUE_WIDTH and not _conflicts(self.issued[0], instruction)

    def _wait_until(self, cycle: int) -> None:
        if cycle > self.cycle:
            self.cycle = cycle
            self.issued.clear()


@dataclass(frozen=True)
class DualIssueModel:
    """Blocks start with everything ready; branches are predicted right."""

    def block_cycles(self, instructions: Sequence[Instruction]) -> tuple[int, int]:
        """Cycles of one execution, and what a taken conditional branch at its end adds."""
        board = Scoreboard()
        for instruction in instructions:
            board.issue(instruction)
        last = instructions[-1]
        cycles = board.cycle + 1
        if last.may_fall_through:
            return cycles, _taken_cycles(last)
        return cycles + _taken_cycles(last), 0


CORTEX_M7 = DualIssueModel()
