"""kws on every core, on the emulator: the bits of TFLite Micro."""

from __future__ import annotations

import pytest

from tests.models.shared_models import check_outputs, needs_tflm, path_of
from tests.support.shared import kws01_data
from tvm_tiny import build

BOARDS = ["mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547"]


@needs_tflm
@pytest.mark.qemu
@pytest.mark.parametrize("board", BOARDS)
def test_bits(board: str) -> None:
    check_outputs(build(path_of("kws"), board), "kws")


@pytest.mark.qemu
@pytest.mark.slow
def test_901_of_1000_keywords() -> None:
    features, labels = kws01_data()
    result = build(path_of("kws"), "mps2-an386").run(features, timeout_s=1200)
    assert (result.output.argmax(axis=-1) == labels).sum() == 901
