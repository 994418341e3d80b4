from __future__ import annotations

from typing import Any

import pytest

from tests.support.layers import Layer
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import GAIN_OF_ORDER, candidates
from tvm_tiny.schedules.dialect import OPERATORS

CONVOLUTION = "conv3x3 8x8x16->8"


def predicted(layer: str, *features: str) -> dict[str, int]:
    """Return the candidates of a layer in order, with their instructions."""
    return {c.variant: c.instructions for c in candidates(Layer.parse(layer).call(), features)}


def of_dsp() -> list[str]:
    """Return variants of convolutions on cores with DSP instructions, in the operator's order."""
    variants = OPERATORS["tiny.qconv2d"].variants
    return [v.name for v in variants if v.features <= {"dsp"}] + ["portable"]


def test_features_say_what_there_is() -> None:
    assert list(predicted(CONVOLUTION)) == ["portable"]
    assert sorted(predicted(CONVOLUTION, "dsp")) == sorted(of_dsp())


@pytest.mark.parametrize("layer", [CONVOLUTION, "conv1x1 1x1x8->1", "fc 256->256", "dw5x5 8x8x8"])
def test_the_fastest_comes_first(layer: str) -> None:
    instructions = list(predicted(layer, "dsp").values())
    assert instructions == sorted(instructions)
    assert instructions[0] > 0


def with_rows(rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    table = costs.Table(costs.table().image, {}, rows)
    monkeypatch.setattr(costs, "table", lambda: table)


def test_a_variant_without_a_row_beats_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known, rows = predicted(CONVOLUTION, "dsp"), dict(costs.table().variants["qconv2d"])
    del rows["pairs"]
    with_rows({"qconv2d": rows}, monkeypatch)
    behind = min(known["packed"], known["portable"])
    assert predicted(CONVOLUTION, "dsp")["pairs"] == round(GAIN_OF_ORDER * behind)


def test_without_a_table_the_order_is_that_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    with_rows({}, monkeypatch)
    assert list(predicted(CONVOLUTION, "dsp")) == of_dsp()


def test_kernels_are_made_when_asked_for() -> None:
    found = candidates(Layer.parse("conv1x1 1x1x4->4").call(), ["dsp"])
    able = {c.variant for c in found if c.kernel is not None}
    assert able == {"packed", "portable"}  # others are for more than a pixel
    assert not next(c for c in found if c.variant == "pairs").pieces


def test_cycles_are_those_of_the_core() -> None:
    found = candidates(Layer.parse(CONVOLUTION).call(), ["dsp"])
    pairs = next(c for c in found if c.variant == "pairs")
    factors = costs.table().variants["qconv2d"]["pairs"].cycles
    for model, factor in factors.items():
        assert pairs.cycles(model) == round(pairs.instructions * factor)
    assert pairs.cycles("unknown") is None
