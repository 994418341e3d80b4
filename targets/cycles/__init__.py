"""Static pipeline models: exact block counts to estimated cycles."""

from tvm_tiny.targets.cycles.decode import block_instructions, disassemble
from tvm_tiny.targets.cycles.estimate import MODELS, BlockTimes, estimate, known_error
from tvm_tiny.targets.cycles.instruction import Instruction, Kind, Program

__all__ = [
    "MODELS",
    "BlockTimes",
    "Instruction",
    "Kind",
    "Program",
    "block_instructions",
    "disassemble",
    "estimate",
    "known_error",
]
