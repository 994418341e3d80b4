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

from tvm_tiny.targets.cycles.instruction import Instruction, Kind

_ISSUE_WIDTH = 2
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


@dataclass
class Scoreboard:
    """The cycle that issues now, what it issued, and when registers are ready."""

    cycle: int = 0
    issued: list[Instruction] = field(default_factory=list)
    ready: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)

    def issue(self, instruction: Instruction) -> None:
        """Give the instruction the first cycle that has its operands and a unit for it."""
        self._wait_until(self.cycle_of(instruction))
        self.issued.append(instruction)
        self._write(instruction)
        self._wait_until(self.cycle + _blocking_cycles(instruction))

    def cycle_of(self, instruction: Instruction) -> int:
        """The cycle that an instruction would be issued in if it came next."""
        ready = self._operands_ready(instruction)
        if ready > self.cycle:
            return ready
        full = len(self.issued) == _ISSUE_WIDTH
        if full or any(_conflict(earlier, instruction) for earlier in self.issued):
            return self.cycle + 1
        return self.cycle

    def _wait_until(self, cycle: int) -> None:
        if cycle > self.cycle:
            self.cycle = cycle
            self.issued.clear()

    def _operands_ready(self, instruction: Instruction) -> int:
        return max((self._ready(instruction, r) for r in instruction.registers_read), default=0)

    def _ready(self, instruction: Instruction, register: str) -> int:
        if register in self.loaded:
            return self.loaded[register] + _load_latency(instruction, register)
        return self.ready.get(register, 0)

    def _write(self, instruction: Instruction) -> None:
        latency = _LATENCY.get(instruction.kind, 1)
        for register in instruction.registers_written:
            self.loaded.pop(register, None)
            is_result = register in instruction.results
            self.ready[register] = self.cycle + (latency if is_result else 1)
            if is_result and instruction.kind in _LOADS:
                self.loaded[register] = self.cycle


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
