"""ad on every core, on the emulator: the bits of TFLite Micro."""

from __future__ import annotations

import pytest

from tests.models.shared_models import check_outputs, needs_tflm, path_of
from tvm_tiny import build

BOARDS = ["mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547"]


@needs_tflm
@pytest.mark.qemu
@pytest.mark.parametrize("board", BOARDS)
def test_bits(board: str) -> None:
    check_outputs(build(path_of("ad"), board), "ad")
