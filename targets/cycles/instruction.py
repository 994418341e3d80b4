"""What a pipeline model needs to know about one machine instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """Instructions that every model times alike."""

    ALU = auto()
    DSP = auto()
    MULTIPLY = auto()
    MULTIPLY_ACCUMULATE = auto()
    LONG_MULTIPLY = auto()
    LONG_MULTIPLY_ACCUMULATE = auto()
    DIVIDE = auto()
    LOAD = auto()
    LOAD_PAIR = auto()
    LOAD_MULTIPLE = auto()
    STORE = auto()
    STORE_PAIR = auto()
    STORE_MULTIPLE = auto()
    BRANCH = auto()
    CONDITIONAL_BRANCH = auto()
    CALL = auto()
    INDIRECT_BRANCH = auto()
    TABLE_BRANCH = auto()
    LOOP_START = auto()
    LOOP_END = auto()
    IT = auto()
    SYSTEM = auto()
    FLOAT_LOAD = auto()
    FLOAT_LOAD_MULTIPLE = auto()
    FLOAT_STORE = auto()
    FLOAT_STORE_MULTIPLE = auto()
    FLOAT_ARITHMETIC = auto()
    FLOAT_MULTIPLY_ACCUMULATE = auto()
    FLOAT_DIVIDE = auto()
    FLOAT_MOVE = auto()
    FLOAT_SYSTEM = auto()
    VECTOR_LOAD = auto()
    VECTOR_STORE = auto()
    VECTOR_INTEGER = auto()
    VECTOR_MULTIPLY = auto()
    VECTOR_MOVE = auto()
    VECTOR_PREDICATE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, eq=False)
class Instruction:
    """One decoded instruction; `d` and `q` registers are listed as the `s` registers they hold.

    Each is equal to itself only: it can be looked up at once.
    """

    size: int
    mnemonic: str
    operands: str
    kind: Kind
    registers_read: frozenset[str]
    registers_written: frozenset[str]
    address_registers: tuple[str, ...]
    writeback: bool
    register_count: int
    writes_pc: bool
    in_it_block: bool

    @property
    def results(self) -> frozenset[str]:
        """Registers written with a result, so without a base register that is only moved on."""
        if not self.writeback:
            return self.registers_written
        return self.registers_written - set(self.address_registers)

    @property
    def may_fall_through(self) -> bool:
        """Whether it writes pc only if a condition holds."""
        conditional = self.in_it_block or self.kind is Kind.CONDITIONAL_BRANCH
        return self.writes_pc and conditional


Program = Mapping[int, Instruction]
