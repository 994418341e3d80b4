"""Cortex-M55: vector instructions take two beats, and those of different pipes overlap.

Sources: the Armv8.1-M overlap rule with two beats a cycle, and LLVM's ARMScheduleM55.td for the
pipes. Not modelled: pairs of 16-bit instructions, latencies of vector results. Never calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tvm_tiny.targets.cycles.instruction import Instruction, Kind

# cycles for which a vector instruction holds its pipe: four beats, two in a cycle
_VECTOR_CYCLES = 2

_PIPES: Mapping[Kind, str] = {
    Kind.VECTOR_LOAD: "memory",
    Kind.VECTOR_STORE: "memory",
    Kind.VECTOR_INTEGER: "integer",
    Kind.VECTOR_MULTIPLY: "multiply",
    Kind.VECTOR_MOVE: "integer",
}
# 1 where the table has none
_CYCLES: Mapping[Kind, int] = {
    Kind.DIVIDE: 6,
    Kind.FLOAT_DIVIDE: 14,
    # the loop cache repeats the body without executing the branch
    Kind.LOOP_END: 0,
}
_MULTIPLE = frozenset(
    {
        Kind.LOAD_MULTIPLE,
        Kind.STORE_MULTIPLE,
        Kind.FLOAT_LOAD_MULTIPLE,
        Kind.FLOAT_STORE_MULTIPLE,
    }
)
_LOADS = frozenset({Kind.LOAD, Kind.LOAD_PAIR})
_LOAD_USE = 1
_TAKEN = 1


def _scalar_cycles(instruction: Instruction) -> int:
    if instruction.kind in _MULTIPLE:
        return 1 + (instruction.register_count + 1) // 2
    return _CYCLES.get(instruction.kind, 1)


def _load_use_stall(instruction: Instruction, previous: Instruction | None) -> int:
    if previous is None or previous.kind not in _LOADS:
        return 0
    return _LOAD_USE if previous.results & instruction.registers_read else 0


def _taken_cycles(instruction: Instruction) -> int:
    return _TAKEN if instruction.writes_pc and instruction.kind is not Kind.LOOP_END else 0


@dataclass
class Pipes:
    """The next cycle, from when each vector pipe is free, and for how long it worked."""

    cycle: int = 0
    free: dict[str, int] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)

    def cycle_of(self, instruction: Instruction) -> int:
        """The cycle that an instruction would be issued in if it came next."""
        pipe = _PIPES.get(instruction.kind)
        return self.cycle if pipe is None else max(self.cycle, self.free.get(pipe, 0))

    def issue(self, instruction: Instruction) -> None:
        """Give the instruction that cycle; the second half of a vector overlaps what comes next."""
        if instruction.kind not in _PIPES:
            self.cycle += _scalar_cycles(instruction)
            return
        start, pipe = self.cycle_of(instruction), _PIPES[instruction.kind]
        self.free[pipe] = start + _VECTOR_CYCLES
        self.busy[pipe] = self.busy.get(pipe, 0) + _VECTOR_CYCLES
        self.cycle = start + 1


@dataclass(frozen=True)
class BeatModel:
    """Blocks start with all pipes free, unless they are the body of a low-overhead loop."""

    def block_cycles(self, instructions: Sequence[Instruction]) -> tuple[int, int]:
        """Cycles of one execution, and what a taken conditional branch at its end adds."""
        pipes = Pipes()
        previous: Instruction | None = None
        for instruction in instructions:
            pipes.cycle += _load_use_stall(instruction, previous)
            pipes.issue(instruction)
            previous = instruction
        last = instructions[-1]
        cycles = pipes.cycle
        if last.kind is Kind.LOOP_END:
            # the next round needs the same pipes
            cycles = max(cycles, *pipes.busy.values(), 0)
        taken = _taken_cycles(last)
        return (cycles, taken) if last.may_fall_through else (cycles + taken, 0)


CORTEX_M55 = BeatModel()
