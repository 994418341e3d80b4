from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.modules import (
    assert_equal,
    assert_same_values,
    is_unchanged,
    nested,
    tensor,
)
from tests.support.evaluate_tiny import operators
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.fold_pads import FoldPads
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

ZERO_POINT = -7
Widths = tuple[int, int, int, int]


def tail(channels: int) -> list[Any]:
    numbers = numerics.quantize_multiplier(np.full(channels, 0.003))
    return [constant(array) for array in (np.arange(channels, dtype=np.int32), *numbers)]


def conv(data: Any, padding: Widths) -> Any:
    attrs = QConv2DAttributes(
        ZERO_POINT, 3, -128, 127, strides=(2, 1), padding=padding, dilation=(1, 1)
    )
    weight = np.random.default_rng(0).integers(-128, 128, (4, 3, 3, 2), np.int8)
    return QCONV2D(attrs, data, constant(weight), *tail(4))


def depthwise(data: Any, padding: Widths) -> Any:
    attrs = QDepthwiseConv2DAttributes(
        ZERO_POINT, 3, -128, 127, strides=(2, 1), padding=padding, dilation=(1, 1)
    )
    weight = np.random.default_rng(0).integers(-128, 128, (3, 3, 2), np.int8)
    return QDEPTHWISE_CONV2D(attrs, data, constant(weight), *tail(2))


def pad(data: Any, before: Widths, after: Widths, value: int = ZERO_POINT) -> Any:
    return PAD(PadAttributes(before, after, value), data)


@pytest.mark.parametrize("operator", [conv, depthwise])
def test_a_border_becomes_padding(operator: Any) -> None:
    x = tensor("x", (1, 5, 6, 2))
    before = nested(operator(pad(x, (0, 1, 2, 0), (0, 0, 1, 0)), (1, 0, 0, 1)), x)
    expected = nested(operator(x, (2, 2, 0, 2)), x)
    after = FoldPads()(before)
    assert_equal(after, expected)
    assert_same_values(before, after)


@pytest.mark.parametrize("operator", [conv, depthwise])
def test_a_border_of_another_value_stays(operator: Any) -> None:
    x = tensor("x", (1, 5, 6, 2))
    padded = pad(x, (0, 1, 1, 0), (0, 1, 1, 0), ZERO_POINT + 1)
    assert is_unchanged(nested(operator(padded, (0, 0, 0, 0)), x), FoldPads())


@pytest.mark.parametrize(
    ("before", "after"),
    [((1, 1, 1, 0), (0, 0, 0, 0)), ((0, 1, 1, 0), (1, 0, 0, 0)), ((0, 1, 1, 0), (0, 0, 0, 1))],
    ids=["batch before", "batch after", "channels"],
)
def test_a_border_that_is_not_spatial_stays(before: Widths, after: Widths) -> None:
    x = tensor("x", (1, 5, 6, 1 if after[3] else 2))
    assert is_unchanged(nested(conv(pad(x, before, after), (0, 0, 0, 0)), x), FoldPads())


def test_a_border_with_another_reader_serves_both() -> None:
    x = tensor("x", (1, 5, 6, 2))
    padded = pad(x, (0, 1, 1, 0), (0, 1, 1, 0))
    before = nested(conv(pad(padded, (0, 0, 0, 0), (0, 0, 0, 0)), (0, 0, 0, 0)), x)
    after = FoldPads()(before)
    assert operators(after) == ["qconv2d"]
    assert_same_values(before, after)


def test_an_empty_border_goes() -> None:
    x = tensor("x", (3, 4))
    empty = nested(PAD(PadAttributes((0, 0), (0, 0), 5), x), x)
    assert operators(FoldPads()(empty)) == []


def test_a_border_on_one_side_stays() -> None:
    x = tensor("x", (3, 4))
    assert is_unchanged(nested(PAD(PadAttributes((0, 0), (0, 1), 5), x), x), FoldPads())
