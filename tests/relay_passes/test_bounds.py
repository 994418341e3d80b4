"""Bounds hold for every input, and are reached where an operator has one operand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.relay_passes.modules import looked_up, module, tensor
from tests.support.evaluate_tiny import evaluate
from tvm_tiny.relay_passes._bounds import Bounds, bounds_of
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes
from tvm_tiny.schedules.qsoftmax import QSOFTMAX, QSoftmaxAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes

SHAPE = (1, 3, 4, 6)
WINDOW: dict[str, Any] = {"strides": (1, 1), "padding": (1, 0, 0, 1), "dilation": (1, 1)}
SCALING = (-3, 5, -100, 100)
WAVE = (np.arange(256) * 37 % 256 - 128).astype(np.int8)
POOL = QPool2DAttributes(**WINDOW, size=(2, 2), clamp_min=-90, clamp_max=60)


def weights(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).integers(-128, 128, shape, np.int8)


def tail(channels: int) -> list[Any]:
    numbers = numerics.quantize_multiplier(np.linspace(0.0002, 0.002, channels))
    return [constant(n) for n in (np.arange(channels, dtype=np.int32) * 50, *numbers)]


def conv(data: Any, groups: int = 1) -> Any:
    attrs = QConv2DAttributes(*SCALING, **WINDOW, groups=groups)
    return QCONV2D(attrs, data, constant(weights(4, 2, 2, 6 // groups)), *tail(4))


def depthwise(data: Any, channels: int = 6) -> Any:
    attrs = QDepthwiseConv2DAttributes(*SCALING, **WINDOW)
    return QDEPTHWISE_CONV2D(attrs, data, constant(weights(2, 2, channels)), *tail(channels))


def dense(data: Any) -> Any:
    return QDENSE(QDenseAttributes(*SCALING), data, constant(weights(5, 6)), *tail(5))


def product(data: Any, other: Any) -> Any:
    return qmul.QMUL(qmul.attributes((0.1, 0.1, 0.9), (3, -4, 5)), data, other)


def difference(data: Any, other: Any) -> Any:
    return qadd.QADD(qadd.attributes((0.1, 0.2, 0.3), (3, -4, 5), sign=-1), data, other)


OPERATORS: dict[str, Any] = {
    "conv": conv,
    "grouped": lambda x: conv(x, 2),
    "depthwise": depthwise,
    "multiplied": lambda x: depthwise(x, 12),
    "dense": dense,
    "lookup": lambda x: looked_up(x, WAVE),
    "avg_pool": lambda x: QAVG_POOL2D(POOL, x),
    "max_pool": lambda x: QMAX_POOL2D(POOL, x),
    "mean": lambda x: QMEAN(QMeanAttributes((1, 2), 0, 3, 4, 1 << 30, -3), x),
    "pad": lambda x: PAD(PadAttributes((0, 1, 0, 0), (0, 0, 2, 0), 9), x),
    "resize": lambda x: RESIZE(ResizeAttributes((2, 1)), x),
    "concat": lambda x: CONCAT(ConcatAttributes(3), x, x),
    "reshape": lambda x: relax.op.reshape(x, (1, 72)),
    "sum": lambda x: qadd.QADD(qadd.attributes((0.1, 0.2, 0.3), (3, -4, 5)), x, x),
    "constant_product": lambda x: product(x, constant(weights(6))),
    "square": lambda x: product(x, x),
    "difference": lambda x: difference(x, constant(weights(6))),
}


def narrow(x: Any) -> Any:
    """Return x clamped to a few values."""
    return looked_up(x, np.clip(np.arange(-128, 128), -40, 31))


def bounds_and_values(name: str) -> tuple[Bounds, Array, Array]:
    """Return bounds of a result, and the least and greatest value seen."""
    mod = module([tensor("x", SHAPE)], lambda emit, x: emit(OPERATORS[name](emit(narrow(x)))))
    generator = np.random.default_rng(1)
    ends = [np.full(SHAPE, end, np.int8) for end in (-128, 127)]
    inputs = [generator.integers(-128, 128, SHAPE, np.int8) for _ in range(200)]
    inputs += [np.where(i < 0, *ends) for i in inputs[:100]]
    seen = np.stack([evaluate(mod, one)[0] for one in [*ends, *inputs]])
    return bounds_of(mod["main"])[mod["main"].body.body], seen.min(axis=0), seen.max(axis=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_value_is_inside(name: str) -> None:
    bounds, low, high = bounds_and_values(name)
    assert bounds.low.shape == low.shape and bounds.low.dtype == np.int8
    assert (bounds.low <= low).all() and (high <= bounds.high).all()


@pytest.mark.parametrize("name", ["avg_pool", "max_pool", "mean", "pad", "resize", "sum"])
def test_both_ends_are_reached(name: str) -> None:
    bounds, low, high = bounds_and_values(name)
    np.testing.assert_array_equal(bounds.low, low)
    np.testing.assert_array_equal(bounds.high, high)


@pytest.mark.parametrize("name", ["conv", "grouped", "depthwise", "multiplied", "dense"])
def test_ends_of_sums_are_reached_by_the_signs_of_the_weights(name: str) -> None:
    """One output element at a time: inputs at the ends that its weights ask for."""
    mod = module([tensor("x", SHAPE)], lambda emit, x: emit(OPERATORS[name](emit(narrow(x)))))
    bounds = bounds_of(mod["main"])[mod["main"].body.body]
    element = (0, *(extent // 2 for extent in bounds.low.shape[1:]))
    base = np.zeros(SHAPE, np.int8)
    signs = np.zeros(SHAPE, np.int64)
    for index in np.ndindex(SHAPE):
        ends = [base.copy(), base.copy()]
        ends[0][index], ends[1][index] = -40, 31
        low, high = (int(evaluate(mod, end)[0][element]) for end in ends)
        signs[index] = np.sign(high - low)
    least, greatest = np.where(signs < 0, 31, -40), np.where(signs < 0, -40, 31)
    for wanted, given in ((bounds.low, least), (bounds.high, greatest)):
        actual = evaluate(mod, given.astype(np.int8))[0]
        assert abs(int(actual[element]) - int(wanted[element])) <= 1


def test_operators_without_a_rule_can_give_anything() -> None:
    def body(emit: Any, x: Any) -> Any:
        return emit(QSOFTMAX(QSoftmaxAttributes(0.1), emit(narrow(x))))

    mod = module([tensor("x", SHAPE)], body)
    bounds = bounds_of(mod["main"])[mod["main"].body.body]
    assert (bounds.low == -128).all() and (bounds.high == 127).all()


def test_known_channels() -> None:
    low, high = np.zeros((2, 3), np.int8), np.zeros((2, 3), np.int8)
    low[0, 1], high[0, 1], high[1, 2] = 5, 5, 1
    assert Bounds(low, high).known_channels == [0, 1]
