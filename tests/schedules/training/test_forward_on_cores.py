"""Forward operators of training on emulated cores: firmware equals meaning."""

from __future__ import annotations

import numpy as np
import pytest

from tests.schedules.training import forward
from tests.support.calls import side_by_side
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules import dialect

CORES = ("cortex-m4", "cortex-m55")
PARTS = 4


@pytest.mark.qemu
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("core", CORES)
def test_firmware_equals_meaning(core: str, part: int) -> None:
    names = list(forward.every_call())[part::PARTS]
    calls = [forward.every_call()[name] for name in names]
    module, specs = side_by_side(calls)
    firmware = build(module, core, name="many")
    for number in range(4):
        rows = [forward.samples(row, seed=4)[number] for row in specs]
        result = firmware.run([value for row in rows for value in row])
        for name, call, row, actual in zip(names, calls, rows, result.outputs, strict=True):
            expected = dialect.run_meaning(call, row)
            np.testing.assert_array_equal(actual, expected, f"{core} {name}")
