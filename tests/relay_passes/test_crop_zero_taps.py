from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.modules import assert_same_values, is_unchanged, nested, only_call, tensor
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.crop_zero_taps import CropZeroTaps
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import attributes_of
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

CHANNELS, ROWS, COLUMNS = 6, 7, 9
Padding = tuple[int, int, int, int]


def layer(
    kind: str,
    zeros: Padding,
    *,
    padding: Padding = (2, 2, 2, 2),
    strides: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    kernel: tuple[int, int] = (5, 5),
) -> Any:
    """Return a module of one layer whose window has `zeros` at its (top, left, bottom, right)."""
    generator = np.random.default_rng(sum(zeros))
    shape = (CHANNELS, *kernel, CHANNELS) if kind == "conv" else (*kernel, CHANNELS)
    weight = generator.integers(1, 128, shape, np.int8)
    window = weight if kind == "depthwise" else np.moveaxis(weight, 0, -1)
    top, left, bottom, right = zeros
    window[:top] = window[kernel[0] - bottom :] = 0
    window[:, :left] = window[:, kernel[1] - right :] = 0
    scaling = (-3, 5, -100, 100)
    numbers = numerics.quantize_multiplier(np.full(CHANNELS, 0.0004))
    parameters = [constant(n) for n in (np.arange(CHANNELS, dtype=np.int32), *numbers)]
    x = tensor("x", (1, ROWS, COLUMNS, CHANNELS))
    options: dict[str, Any] = {"strides": strides, "padding": padding, "dilation": dilation}
    if kind == "conv":
        attrs = QConv2DAttributes(*scaling, **options)
        return nested(QCONV2D(attrs, x, constant(weight), *parameters), x)
    depthwise = QDepthwiseConv2DAttributes(*scaling, **options)
    return nested(QDEPTHWISE_CONV2D(depthwise, x, constant(weight), *parameters), x)


NAMES = {"conv": "tiny.qconv2d", "depthwise": "tiny.qdepthwise_conv2d"}


def window_of(mod: Any, kind: str) -> tuple[Any, ...]:
    """Return the window's (height, width) and its padding."""
    call = only_call(mod, NAMES[kind])
    shape = call.args[1].value.numpy().shape
    return shape[1:3] if kind == "conv" else shape[:2], attributes_of(call).padding


@pytest.mark.parametrize(
    ("zeros", "size", "padding"),
    [
        ((1, 0, 0, 0), (4, 5), (1, 2, 2, 2)),
        ((0, 2, 0, 1), (5, 2), (2, 0, 2, 1)),
        ((2, 2, 2, 2), (1, 1), (0, 0, 0, 0)),
        ((3, 0, 0, 0), (3, 5), (0, 2, 2, 2)),  # the padding has two rows
    ],
)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_convolutions_lose_rows_and_columns(
    zeros: Padding, size: tuple[int, int], padding: Padding, strides: tuple[int, int]
) -> None:
    before = layer("conv", zeros, strides=strides)
    after = CropZeroTaps()(before)
    assert window_of(after, "conv") == (size, padding)
    assert_same_values(before, after)


@pytest.mark.parametrize("kind", NAMES)
def test_dilated_windows_lose_rings(kind: str) -> None:
    before = layer(kind, (1, 1, 1, 1), dilation=(2, 1), padding=(4, 2, 4, 2))
    after = CropZeroTaps()(before)
    assert window_of(after, kind) == ((3, 3), (2, 1, 2, 1))
    assert_same_values(before, after)


def test_depthwise_windows_stay_square() -> None:
    before = layer("depthwise", (2, 1, 1, 1))
    after = CropZeroTaps()(before)
    assert window_of(after, "depthwise") == ((3, 3), (1, 1, 1, 1))
    assert_same_values(before, after)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("conv", {"zeros": (0, 0, 0, 0)}),
        ("conv", {"zeros": (1, 1, 1, 1), "padding": (0, 0, 0, 0)}),
        ("conv", {"zeros": (1, 1, 1, 1), "padding": (1, 1, 1, 1), "dilation": (2, 2)}),
        ("conv", {"zeros": (5, 5, 5, 5)}),
        ("depthwise", {"zeros": (0, 1, 1, 1)}),
        ("depthwise", {"zeros": (1, 1, 1, 1), "padding": (1, 1, 0, 1)}),
    ],
)
def test_other_windows_stay(kind: str, options: Any) -> None:
    assert is_unchanged(layer(kind, **options), CropZeroTaps())
