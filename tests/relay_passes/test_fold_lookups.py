from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.relay_passes.modules import (
    assert_equal,
    assert_same_values,
    is_unchanged,
    looked_up,
    module,
    nested,
    only_call,
    tensor,
)
from tests.support.evaluate_tiny import operators
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.fold_lookups import FoldLookups
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.dialect import attributes_of
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qsoftmax import QSOFTMAX, QSoftmaxAttributes

WINDOW: dict[str, Any] = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
NUMBERS = [constant(n) for n in numerics.quantize_multiplier(np.full(4, 0.004))]
TAIL = [constant(np.zeros(4, np.int32)), *NUMBERS]
POOL = QPool2DAttributes(**WINDOW, size=(2, 2), clamp_min=-100, clamp_max=100)
SCALING = (-3, 5, -100, 100)


def ones(*shape: int) -> Any:
    return constant(np.ones(shape, np.int8))


def sum_attributes(make: Any) -> Any:
    attrs = make((0.1, 0.2, 0.1), (1, 2, 3))
    return type(attrs)(**{**attrs.as_dict(), "clamp_min": -100, "clamp_max": 100})


PRODUCERS = {
    "conv": lambda x: QCONV2D(QConv2DAttributes(*SCALING, **WINDOW), x, ones(4, 2, 2, 4), *TAIL),
    "depthwise": lambda x: QDEPTHWISE_CONV2D(
        QDepthwiseConv2DAttributes(*SCALING, **WINDOW), x, ones(2, 2, 4), *TAIL
    ),
    "dense": lambda x: QDENSE(QDenseAttributes(*SCALING), x, ones(4, 4), *TAIL),
    "add": lambda x: qadd.QADD(sum_attributes(qadd.attributes), x, x),
    "mul": lambda x: qmul.QMUL(sum_attributes(qmul.attributes), x, x),
    "average": lambda x: QAVG_POOL2D(POOL, x),
    "max": lambda x: QMAX_POOL2D(POOL, x),
}


def image() -> Any:
    return tensor("x", (1, 3, 3, 4))


def clipped(data: Any, low: int, high: int) -> Any:
    return looked_up(data, np.clip(DOMAIN, low, high))


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_clamp_moves_into_its_producer(name: str) -> None:
    x = image()
    before = nested(clipped(PRODUCERS[name](x), -20, 127), x)
    after = FoldLookups()(before)
    (operator,) = operators(after)
    attrs = attributes_of(only_call(after, f"tiny.{operator}"))
    assert (attrs.clamp_min, attrs.clamp_max) == (-20, 100)
    assert_same_values(before, after)


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_table_that_is_no_clamp_stays(name: str) -> None:
    x = image()
    table = np.clip(DOMAIN, -20, 127)
    table[5] += 1
    assert is_unchanged(nested(looked_up(PRODUCERS[name](x), table), x), FoldLookups())


def test_a_clamp_behind_another_operator_stays() -> None:
    x = image()
    softmax = QSOFTMAX(QSoftmaxAttributes(0.1), x)
    assert is_unchanged(nested(clipped(softmax, -20, 127), x), FoldLookups())


@pytest.mark.parametrize(("low", "high"), [(110, 120), (-128, -120), (7, 7)])
def test_clamps_that_do_not_meet(low: int, high: int) -> None:
    x = image()
    before = nested(clipped(PRODUCERS["add"](x), low, high), x)
    assert_same_values(before, FoldLookups()(before))


def test_a_producer_with_another_reader_is_computed_twice_or_kept() -> None:
    def body(emit: Any, x: Any) -> Any:
        total = emit(PRODUCERS["add"](x))
        return emit(qadd.QADD(sum_attributes(qadd.attributes), emit(clipped(total, 0, 50)), total))

    before = module([image()], body)
    assert_same_values(before, FoldLookups()(before))


def test_tables_compose() -> None:
    x = image()
    negate, halve = np.clip(-DOMAIN, -128, 127), DOMAIN // 2
    before = nested(looked_up(looked_up(x, negate, "negate"), halve, "halve"), x)
    expected = nested(looked_up(x, np.clip(-DOMAIN, -128, 127) // 2, "negate_halve"), x)
    after = FoldLookups()(before)
    assert_equal(after, expected)
    assert_same_values(before, after)


def test_names_of_many_tables_stay_short() -> None:
    x = image()
    data: Any = x
    for _ in range(12):
        data = looked_up(data, None, "negate")
    data = looked_up(data, DOMAIN // 2, "halve")
    after = FoldLookups()(nested(data, x))
    assert len(attributes_of(only_call(after, "tiny.lookup")).function) <= 40


def test_an_identity_goes() -> None:
    x = image()
    assert operators(FoldLookups()(nested(looked_up(x, DOMAIN), x))) == []


def test_almost_an_identity_stays() -> None:
    x = image()
    table = DOMAIN.copy()
    table[-1] = 126
    table[0] = -127
    table[9] = 0
    assert is_unchanged(nested(looked_up(x, table), x), FoldLookups())
