"""The MCUNet models on a Cortex-M7, on the emulator: the bits of TFLite Micro."""

from __future__ import annotations

import pytest

from tests.models.shared_models import MCUNET, check_outputs, needs_tflm, path_of
from tvm_tiny import build


@needs_tflm
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("name", MCUNET)
def test_bits(name: str) -> None:
    check_outputs(build(path_of(name), "mps2-an500"), name, 2)
