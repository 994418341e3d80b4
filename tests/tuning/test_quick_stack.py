from __future__ import annotations

import inspect

import pytest
import tvm_ffi
from tvm.tirx.script.parser import entry

from tests.support.layers import Layer
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.schedules.dialect import call_of
from tvm_tiny.tuning.quick_stack import quick_stack


def test_kernels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "inspect", inspect)  # tests make kernels quickly
    call = call_of(Layer.parse("conv3x3 5x5x8->8").call())
    usual = [c.kernel for c in candidates(call, {"dsp"})]
    with quick_stack():
        quick = [c.kernel for c in candidates(call, {"dsp"})]
    assert entry.inspect is inspect
    for one, other in zip(usual, quick, strict=True):
        assert one is not None and other is not None
        assert tvm_ffi.structural_equal(one.function, other.function)
