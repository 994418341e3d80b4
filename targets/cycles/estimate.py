"""Estimated cycles of a run, from how often each block of it was executed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.cycles.decode import block_instructions
from tvm_tiny.targets.cycles.in_order import CORTEX_M3, CORTEX_M4
from tvm_tiny.targets.cycles.instruction import Instruction, Program
from tvm_tiny.targets.cycles.m7 import CORTEX_M7
from tvm_tiny.targets.cycles.m55 import CORTEX_M55


class PipelineModel(Protocol):
    """How long a block takes."""

    def block_cycles(self, instructions: Sequence[Instruction]) -> tuple[int, int]:
        """Cycles of one execution, and what a taken conditional branch at its end adds."""


@dataclass(frozen=True)
class CoreModel:
    """A pipeline model and what is known of its error."""

    pipeline: PipelineModel
    known_error: str


# errors: estimates of OctoML's, TinyEngine's and CMSIS-NN's code against published latencies
MODELS: Mapping[str, CoreModel] = {
    "cortex-m3": CoreModel(
        CORTEX_M3,
        "Arm's Cortex-M3 cycle table with zero wait states; never compared with hardware.",
    ),
    "cortex-m4": CoreModel(
        CORTEX_M4,
        "Arm's cycle table with zero wait states; 0.78 to 1.05 of the published cycles of eight "
        "MLPerf Tiny runs on an STM32L4R5 with five Flash wait states (rms error 14 %).",
    ),
    "cortex-m33": CoreModel(
        CORTEX_M4,
        "Cortex-M4's cycle table with zero wait states; 0.97 to 1.05 of the published cycles of "
        "four MLPerf Tiny runs on an nRF5340 (rms error 3 %).",
    ),
    "cortex-m7": CoreModel(
        CORTEX_M7,
        "fitted on two TinyEngine networks; 0.97 to 1.10 of the published cycles of four more on "
        "the same STM32H743, 0.80 for CMSIS-NN on an STM32F746: expect 20 % either way.",
    ),
    "cortex-m55": CoreModel(
        CORTEX_M55,
        "uncalibrated: there are no published cycles of a Cortex-M55 without an accelerator.",
    ),
}


def known_error(model_name: str) -> str:
    """One sentence to print beside every estimate."""
    return _model(model_name).known_error


Blocks = Iterable[tuple[int, int, int, int]]  # address, size in bytes, executions, fall-throughs


def estimate(model_name: str, program: Program, blocks: Blocks) -> int:
    """Estimated cycles of blocks."""
    return BlockTimes(model_name).estimate(lambda: program, lambda *place: place, blocks)


class BlockTimes:
    """The same for many runs of code that is alike: what is known of a block is remembered."""

    def __init__(self, model_name: str) -> None:
        """`model_name` is a key of MODELS."""
        self._pipeline = _model(model_name).pipeline
        self._known: dict[Hashable, tuple[int, int, bool]] = {}

    def estimate(
        self,
        program: Callable[[], Program],
        code_at: Callable[[int, int], Hashable],
        blocks: Blocks,
    ) -> int:
        """Estimated cycles of blocks.

        `code_at` gives what equal blocks have in common, such as the bytes of some number at an
        address; `program` is asked only where that is new.

        The emulator ends blocks at the ends of its pages, wherever code happens to lie. The first
        part of such a block takes what the whole takes more than the rest.
        """

        def known(address: int, size: int) -> tuple[int, int, bool]:
            code = code_at(address, size)
            if code not in self._known:
                instructions = block_instructions(program(), address, size)
                is_cut = not instructions[-1].writes_pc
                self._known[code] = (*self._pipeline.block_cycles(instructions), is_cut)
            return self._known[code]

        listed = list(blocks)
        sizes = {address: size for address, size, _, _ in listed}
        total = 0
        for address, size, count, fall_through in listed:
            cycles, penalty, is_cut = known(address, size)
            rest = sizes.get(address + size) if is_cut else None
            if rest is not None:
                cycles = known(address, size + rest)[0] - known(address + size, rest)[0]
            total += cycles * count + penalty * max(0, count - fall_through)
        return total


def _model(name: str) -> CoreModel:
    if name not in MODELS:
        raise TargetError(
            f"no cycle model for {name!r}", hint=f"models are {', '.join(sorted(MODELS))}"
        )
    return MODELS[name]
