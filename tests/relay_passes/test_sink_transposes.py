from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.relay_passes.modules import (
    NCHW,
    NHWC,
    assert_equal,
    assert_same_values,
    is_unchanged,
    looked_up,
    nested,
    tensor,
    transposed,
)
from tests.support.evaluate_tiny import operators
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.sink_transposes import SinkTransposes
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Attributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.training.float_add import FLOAT_ADD
from tvm_tiny.schedules.training.float_mul import FLOAT_MUL
from tvm_tiny.schedules.training.float_pad import FLOAT_PAD, FloatPadAttributes

SHAPE = (2, 3, 4, 5)
ADD = qadd.attributes((0.1, 0.2, 0.3), (1, 2, 3))
MUL = qmul.attributes((0.1, 0.2, 0.3), (1, 2, 3))


def x() -> Any:
    return tensor("x", SHAPE)


def mean(data: Any, axes: tuple[int, ...], keep: int) -> Any:
    return QMEAN(QMeanAttributes(axes, keep, 1, 2, *fold_count(0.5, 12)), data)


def dense(data: Any, depth: int) -> Any:
    numbers = [constant(n) for n in numerics.quantize_multiplier(np.full(6, 0.001))]
    weight = np.random.default_rng(0).integers(-128, 128, (6, depth), np.int8)
    zeros = constant(np.zeros(6, np.int32))
    attrs = QDenseAttributes(-3, 5, -128, 127)
    return QDENSE(attrs, data, constant(weight), zeros, *numbers)


def test_two_transposes_compose() -> None:
    data = x()
    before = nested(transposed(transposed(data, (0, 2, 3, 1)), (1, 0, 2, 3)), data)
    expected = nested(transposed(data, (2, 0, 3, 1)), data)
    after = SinkTransposes()(before)
    assert_equal(after, expected)
    assert_same_values(before, after)


def test_inverse_transposes_cancel() -> None:
    data = x()
    assert operators(SinkTransposes()(nested(transposed(transposed(data, NHWC), NCHW), data))) == []


def test_a_transpose_of_one_channel_is_a_reshape() -> None:
    data = tensor("x", (1, 1, 4, 5))
    before = nested(transposed(data, NHWC), data)
    after = SinkTransposes()(before)
    assert operators(after) == ["reshape"]
    assert_same_values(before, after)


# What a transpose may pass: the operator over a transposed input, and what stands behind it.
MOVED: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "lookup": (lambda t: looked_up(t), ["lookup", "transpose"]),
    "dequantize": (
        lambda t: DEQUANTIZE(DequantizeAttributes(0.5, 3), t),
        ["dequantize", "transpose"],
    ),
    "pad": (
        lambda t: PAD(PadAttributes((0, 1, 2, 3), (4, 3, 2, 1), 5), t),
        ["pad", "transpose"],
    ),
    "mean over the image": (lambda t: mean(t, (1, 2), 0), ["qmean"]),
    "mean over the image, kept": (lambda t: mean(t, (1, 2), 1), ["qmean", "reshape"]),
    "mean over channels": (lambda t: mean(t, (3,), 0), ["qmean"]),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_transpose_passes(name: str) -> None:
    operator, expected = MOVED[name]
    data = tensor("x", (1, 3, 4, 5)) if "kept" in name else x()
    before = nested(operator(transposed(data, NHWC)), data)
    after = SinkTransposes()(before)
    assert operators(after) == expected
    assert_same_values(before, after)


def test_a_transpose_passes_quantize() -> None:
    data = tensor("x", SHAPE, "float32")
    before = nested(QUANTIZE(QuantizeAttributes(0.02, 3), transposed(data, NHWC)), data)
    after = SinkTransposes()(before)
    assert operators(after) == ["quantize", "transpose"]
    assert_same_values(before, after)


FLOAT_MOVED: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "pad": (
        lambda t: FLOAT_PAD(FloatPadAttributes((0, 1, 2, 3), (4, 3, 2, 1), 0.5), t),
        ["float_pad", "transpose"],
    ),
    "factor": (
        lambda t: FLOAT_MUL(Attributes(), t, relax.const(np.array([0.5], np.float32))),
        ["float_mul", "transpose"],
    ),
    "addend": (
        lambda t: FLOAT_ADD(Attributes(), t, relax.const(np.array([0.5], np.float32))),
        ["float_add", "transpose"],
    ),
    "square": (lambda t: FLOAT_MUL(Attributes(), t, t), ["float_mul", "transpose"]),
}


@pytest.mark.parametrize("name", FLOAT_MOVED)
def test_a_transpose_passes_operators_of_floats(name: str) -> None:
    operator, expected = FLOAT_MOVED[name]
    data = tensor("x", SHAPE, "float32")
    before = nested(operator(transposed(data, NHWC)), data)
    after = SinkTransposes()(before)
    assert operators(after) == expected
    assert_same_values(before, after)


def test_factors_of_channels_stay_where_channels_are() -> None:
    data, gate = tensor("x", SHAPE, "float32"), tensor("g", (1, 3, 1, 1), "float32")
    factor = relax.const(np.array([1, 2, 3], np.float32))
    by_constant = FLOAT_MUL(Attributes(), transposed(data, NHWC), factor)
    assert is_unchanged(nested(by_constant, data), SinkTransposes())
    gated = FLOAT_MUL(Attributes(), transposed(data, NHWC), transposed(gate, (0, 2, 3, 1)))
    assert "transpose" in operators(SinkTransposes()(nested(gated, data, gate)))
    assert_same_values(nested(gated, data, gate), SinkTransposes()(nested(gated, data, gate)))


BINARY = {
    "add": lambda a, b: qadd.QADD(ADD, a, b),
    "mul": lambda a, b: qmul.QMUL(MUL, a, b),
    "concat": lambda a, b: CONCAT(ConcatAttributes(2), a, b),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_equal_transposes_pass(name: str) -> None:
    a, b = tensor("a", SHAPE), tensor("b", SHAPE)
    before = nested(BINARY[name](transposed(a, NHWC), transposed(b, NHWC)), a, b)
    after = SinkTransposes()(before)
    assert operators(after)[1:] == ["transpose"]
    assert_same_values(before, after)


@pytest.mark.parametrize("name", BINARY)
def test_two_different_transposes_stay(name: str) -> None:
    a, b = tensor("a", (2, 3, 3, 3)), tensor("b", (2, 3, 3, 3))
    both = BINARY[name](transposed(a, NHWC), transposed(b, NCHW))
    assert is_unchanged(nested(both, a, b), SinkTransposes())


@pytest.mark.parametrize("name", ["add", "mul"])
def test_broadcasting_under_equal_transposes(name: str) -> None:
    a, b = tensor("a", SHAPE), tensor("b", (1, 3, 1, 1))
    before = nested(BINARY[name](transposed(a, NHWC), transposed(b, NHWC)), a, b)
    assert_same_values(before, SinkTransposes()(before))


def test_broadcasting_to_a_higher_rank_under_a_transpose() -> None:
    a, b = tensor("a", (5, 3)), tensor("b", (4, 5, 3))
    both = qadd.QADD(ADD, transposed(a, (1, 0)), transposed(b, (0, 2, 1)))
    before = nested(both, a, b)
    assert_same_values(before, SinkTransposes()(before))


def test_a_mean_whose_axes_would_part_stays() -> None:
    data = x()
    assert is_unchanged(nested(mean(transposed(data, NHWC), (2, 3), 0), data), SinkTransposes())


def test_a_dense_layer_absorbs_a_transpose() -> None:
    data = x()
    flat = relax.op.reshape(transposed(data, NHWC), (2, 60))
    before = nested(dense(flat, 60), data)
    after = SinkTransposes()(before)
    assert operators(after) == ["reshape", "qdense"]
    assert_same_values(before, after)


def test_a_dense_layer_over_pixels_keeps_the_transpose() -> None:
    data = x()
    flat = relax.op.reshape(transposed(data, NHWC), (24, 5))
    before = nested(dense(flat, 5), data)
    assert is_unchanged(before, SinkTransposes())


def test_a_dense_layer_over_moved_batches_keeps_the_transpose() -> None:
    data = x()
    flat = relax.op.reshape(transposed(data, (1, 0, 2, 3)), (3, 40))
    assert is_unchanged(nested(dense(flat, 40), data), SinkTransposes())


def test_reshapes_merge_around_a_transpose_that_moves_nothing() -> None:
    data = tensor("x", (1, 1, 4, 5))
    inner = relax.op.reshape(transposed(data, NHWC), (20, 1))
    before = nested(relax.op.reshape(inner, (2, 10)), data)
    after = SinkTransposes()(before)
    assert operators(after) == ["reshape"]
    assert_same_values(before, after)


def test_a_reshape_of_moved_bytes_stays() -> None:
    data = x()
    reshaped = relax.op.reshape(transposed(data, NHWC), (2, 60))
    assert is_unchanged(nested(looked_up(reshaped), data), SinkTransposes())
