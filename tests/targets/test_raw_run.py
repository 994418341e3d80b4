from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tvm_tiny.errors import FaultError
from tvm_tiny.targets.raw_run import (
    Block,
    BlockCount,
    instructions_by_owner,
    parse_trace,
    read_run,
)

TRACE = """\
block 1 8000100 6 3
count 2 1 10 9
count 1 1 1 0
block 0 80000f0 16 5
count 1 0 1 1
state 1 2 8000100
"""


def test_trace_is_read_by_address_and_owner() -> None:
    trace = parse_trace(TRACE)
    assert trace.blocks == (
        Block(0x080000F0, 16, 5, (BlockCount(1, 1, 1),)),
        Block(0x08000100, 6, 3, (BlockCount(1, 1, 0), BlockCount(2, 10, 9))),
    )
    assert (trace.owner, trace.address) == (2, 0x08000100)


def test_instructions_are_summed_by_owner() -> None:
    assert instructions_by_owner(parse_trace(TRACE).blocks) == {1: 8, 2: 30}


def test_run_is_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "stats.bin").write_bytes(struct.pack("<3i", -4, -1, 2))
    run = read_run(tmp_path)
    assert (run.return_code, run.stack_bytes, run.samples, run.output_bytes) == (-4, None, 2, b"")


def test_missing_statistics_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="ended without its statistics"):
        read_run(tmp_path)
