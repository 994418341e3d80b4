"""Cortex-M3, M4 and M33: one instruction at a time, each with the cycles of Arm's table.

Source: Arm 100166 (Cortex-M4 TRM), table 3-1, the FPU's instruction table, and "Load/store
timings"; Arm DDI 0337 (Cortex-M3 TRM) for its multiplies. Memory has zero wait states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm_tiny.targets.cycles.instruction import Instruction, Kind

# Arm's P is 1 to 3, after alignment and width of the branch's target
_REFILL = 2
# 2 to 12, after the operands' leading zeros
_DIVIDE = 6

_M4_CYCLES: Mapping[Kind, int] = {
    Kind.LOAD: 2,
    Kind.LOAD_PAIR: 3,
    Kind.STORE_PAIR: 3,
    Kind.DIVIDE: _DIVIDE,
    # "Load/store timings": two for the load, one for the addition, then the refill
    Kind.TABLE_BRANCH: 3,
    Kind.FLOAT_MULTIPLY_ACCUMULATE: 3,
    Kind.FLOAT_DIVIDE: 14,
    Kind.FLOAT_MOVE: 0,
}
# early termination: 3 to 5 for a product, 4 to 7 with an addition
_M3_CYCLES: Mapping[Kind, int] = {
    **_M4_CYCLES,
    Kind.MULTIPLY_ACCUMULATE: 2,
    Kind.LONG_MULTIPLY: 4,
    Kind.LONG_MULTIPLY_ACCUMULATE: 5,
}
# N more, for N registers
_PER_REGISTER = frozenset(
    {
        Kind.LOAD_MULTIPLE,
        Kind.STORE_MULTIPLE,
        Kind.FLOAT_LOAD,
        Kind.FLOAT_LOAD_MULTIPLE,
        Kind.FLOAT_STORE,
        Kind.FLOAT_STORE_MULTIPLE,
        Kind.FLOAT_MOVE,
    }
)
_ALU_RESULTS = frozenset(
    {
        Kind.ALU,
        Kind.DSP,
        Kind.MULTIPLY,
        Kind.MULTIPLY_ACCUMULATE,
        Kind.LONG_MULTIPLY,
        Kind.LONG_MULTIPLY_ACCUMULATE,
        Kind.DIVIDE,
    }
)
_FLOAT_RESULTS = frozenset(
    {Kind.FLOAT_ARITHMETIC, Kind.FLOAT_MULTIPLY_ACCUMULATE, Kind.FLOAT_DIVIDE}
)
_BEFORE_FLOAT_LOAD = frozenset({Kind.LOAD, Kind.FLOAT_LOAD, Kind.FLOAT_LOAD_MULTIPLE})


def _after_load(instruction: Instruction, previous: Instruction | None) -> bool:
    """Whether a load goes before whose result this instruction's address does not need."""
    if previous is None or previous.kind is not Kind.LOAD or previous.writes_pc:
        return False
    return not previous.results & set(instruction.address_registers)


def _pipelined_load(instruction: Instruction, previous: Instruction | None) -> int:
    if instruction.kind is not Kind.LOAD or instruction.writes_pc:
        return 0
    return -1 if _after_load(instruction, previous) else 0


def _pipelined_float_load(instruction: Instruction, previous: Instruction | None) -> int:
    # not in Arm's table; published latencies of a float model fit only with it
    if instruction.kind is not Kind.FLOAT_LOAD or previous is None:
        return 0
    return -1 if previous.kind in _BEFORE_FLOAT_LOAD else 0


def _register_offset_store(instruction: Instruction, previous: Instruction | None) -> int:
    if instruction.kind is not Kind.STORE or len(instruction.address_registers) < 2:
        return 0
    return 0 if _after_load(instruction, previous) else 1


def _folded_it(instruction: Instruction, previous: Instruction | None) -> int:
    if instruction.kind is not Kind.IT or previous is None:
        return 0
    return -1 if previous.size == 2 else 0


def _address_stall(instruction: Instruction, previous: Instruction | None) -> int:
    if previous is None or previous.kind not in _ALU_RESULTS:
        return 0
    return 1 if previous.registers_written & set(instruction.address_registers) else 0


def _float_result_stall(instruction: Instruction, previous: Instruction | None) -> int:
    if previous is None or previous.kind not in _FLOAT_RESULTS:
        return 0
    # Arm's rule names conversions and arithmetic, not the flags of a comparison
    if instruction.kind is Kind.FLOAT_SYSTEM:
        return 0
    return 1 if previous.registers_written & instruction.registers_read else 0


_ADJUSTMENTS: tuple[Callable[[Instruction, Instruction | None], int], ...] = (
    _pipelined_load,
    _pipelined_float_load,
    _register_offset_store,
    _folded_it,
    _address_stall,
    _float_result_stall,
)


@dataclass(frozen=True)
class InOrderModel:
    """Cycles by kind of instruction, 1 where the table has none, adjusted for the one before."""

    cycles: Mapping[Kind, int]
    refill: int = _REFILL

    def block_cycles(self, instructions: Sequence[Instruction]) -> tuple[int, int]:
        """Cycles of one execution, and what a taken conditional branch at its end adds."""
        total = penalty = 0
        previous: Instruction | None = None
        for instruction in instructions:
            cycles, penalty = self._cycles(instruction, previous)
            total += cycles
            previous = instruction
        return total, penalty

    def _cycles(self, instruction: Instruction, previous: Instruction | None) -> tuple[int, int]:
        cycles = self.cycles.get(instruction.kind, 1)
        if instruction.kind in _PER_REGISTER:
            cycles += instruction.register_count
        cycles += sum(adjust(instruction, previous) for adjust in _ADJUSTMENTS)
        if instruction.writes_pc:
            cycles += self.refill
        # one that is not executed costs a cycle; the rest is for when it is
        return (1, cycles - 1) if instruction.may_fall_through else (cycles, 0)


CORTEX_M3 = InOrderModel(_M3_CYCLES)
CORTEX_M4 = InOrderModel(_M4_CYCLES)
