"""The example that trains on the device learns two classes, and keeps those it knew."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from tests.support.shared import REPOSITORY

# found, not imported: every test run would wait for them
PACKAGES = ("torch", "onnxruntime", "sklearn")
pytestmark = [
    pytest.mark.slow,
    *(pytest.mark.skipif(not find_spec(name), reason=f"no {name}") for name in PACKAGES),
]
ON_EMULATOR = 10
LEARNT, FORGOTTEN = 0.85, 0.05


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / "train_on_device"))
    return importlib.import_module("demo")


@pytest.mark.qemu
def test_two_digits_are_learnt(demo: ModuleType) -> None:
    firmware, test = demo.prepare()
    assert firmware.sram_bytes < demo.SRAM
    old, new = demo.accuracies(firmware, test)
    assert old > 0.95 and new < 0.2
    shown, rates = demo.sequence()
    first = [values[:ON_EMULATOR] for values in (shown.images, shown.classes, rates)]
    steps = firmware.run_steps(*first)
    losses = demo.same_steps_here(firmware, shown, rates)
    np.testing.assert_array_equal(losses[:ON_EMULATOR], steps.losses)
    old_now, new_now = demo.accuracies(firmware, test)
    assert new_now > LEARNT
    assert old_now > old - FORGOTTEN
