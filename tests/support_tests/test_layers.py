from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.schedules.suite import inferred
from tests.support.layers import Layer
from tvm_tiny.schedules.dialect import attributes_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LAYERS = msgspec.toml.decode((BENCHMARKS / "kernels.toml").read_bytes())


@pytest.mark.parametrize(
    ("name", "output", "padding"),
    [
        ("conv10x4s2 49x10x1->64", (1, 25, 5, 64), (4, 1, 5, 1)),
        ("conv3x3s2 96x96x3->8", (1, 48, 48, 8), (0, 0, 1, 1)),
        ("conv1x1s2 32x32x16->32", (1, 16, 16, 32), (0, 0, 0, 0)),
        ("dw7x7 12x12x96", (1, 12, 12, 96), (3, 3, 3, 3)),
        ("avgpool 25x5x64", (1, 1, 1, 64), (0, 0, 0, 0)),
        ("avgpool2x2s2 16x16x64", (1, 8, 8, 64), (0, 0, 0, 0)),
    ],
)
def test_geometry_is_same_padding(
    name: str, output: tuple[int, ...], padding: tuple[int, ...]
) -> None:
    call = Layer.parse(name).call()
    assert inferred(call).shape == output
    assert attributes_of(call).padding == padding


@pytest.mark.parametrize("name", ["fc 64->12", "add 8x8x64"])
def test_layers_without_windows(name: str) -> None:
    layer = Layer.parse(name)
    assert inferred(layer.call()).shape == (1, *layer.shape[:-1], layer.channels)


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith(("conv", "dw", "fc"))])
def test_shifts_differ_from_channel_to_channel(name: str) -> None:
    shift = Layer.parse(name).call().args[4].value.numpy()
    assert len(np.unique(shift)) >= 2
    assert (shift < 0).all()


def test_linear_layers_have_no_relu() -> None:
    points = {
        name: attributes_of(Layer.parse(name).call()).output_zero_point
        for name in ("dw3x3 6x6x8", "dw3x3 6x6x8 linear")
    }
    assert points == {"dw3x3 6x6x8": -128, "dw3x3 6x6x8 linear": 3}


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(AssertionError):
        Layer.parse("conv 3 by 3")
