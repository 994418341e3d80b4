"""Layers are equal where their kernels take the same time; no kernel is made to tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.layers import Layer
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Call, call_of
from tvm_tiny.tuning.tasks import key_of

NAMES = ("conv1x1 6x6x16->8", "conv3x3 6x6x8->8", "dw3x3 6x6x8", "fc 16->8", "add 4x4x8")


def call(name: str = NAMES[0]) -> Call:
    return call_of(Layer.parse(name).call())


def other(attributes: dict[str, Any] | None = None, **arguments: Any) -> Call:
    """Return the first layer with other attributes, or other arguments by their numbers."""
    made = call()
    changed = [arguments.get(f"a{n}", value) for n, value in enumerate(made.arguments)]
    return Call(made.operator, replace(made.attributes, **attributes or {}), tuple(changed))


def test_keys_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidate, "kernel", None)
    assert len({key_of(call(name)) for name in NAMES}) == len(NAMES)
    assert [key_of(call(name)) for name in NAMES] == [key_of(call(name)) for name in NAMES]


def test_names_scales_and_values_do_not_matter() -> None:
    made = call()
    bias = made.arguments[2]
    assert isinstance(bias, np.ndarray)
    assert key_of(other({"layer": "another", "input_scale": 0.5})) == key_of(made)
    assert key_of(other({"input_zero_point": 3})) == key_of(other({"input_zero_point": 5}))
    assert key_of(other(a2=bias + 1)) == key_of(made)


def test_the_form_matters() -> None:
    made = call()
    attributes, shift = made.attributes.as_dict(), made.arguments[4]
    assert isinstance(shift, np.ndarray)
    keys = {
        key_of(made),
        key_of(other({"clamp_min": attributes["output_zero_point"] + 1})),
        key_of(other(a4=shift - np.arange(len(shift)) % 2)),
        key_of(other(a4=np.full_like(shift, 2))),
    }
    assert len(keys) == 4
