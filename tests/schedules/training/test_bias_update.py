from __future__ import annotations

import numpy as np

from tests.schedules.training.training_cases import Case, check, edges, floats, rows
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tvm_tiny.schedules.dialect import Array, Attributes
from tvm_tiny.schedules.training.bias_gradient import BIAS_GRADIENT
from tvm_tiny.schedules.training.bias_update import BIAS_UPDATE, BiasUpdateAttributes
from tvm_tiny.schedules.training.masked_scale import real_scale
from tvm_tiny.schedules.training.sgd_update import SGD_UPDATE, SgdUpdateAttributes

SHAPES = [(1, 1, 1, 1), (1, 8, 8, 48), (1, 3, 5, 7), (1, 10), (1, 4, 4, 37), (1, 2, 3, 16)]
LIMITS = [2**31 - 1, 2**30, 5000]


def samples(shape: tuple[int, ...], limit: int) -> list[list[Array]]:
    channels = shape[-1]
    generator = np.random.default_rng(0)
    some = generator.integers(-4000, 4000, channels, np.int32)
    ends = generator.choice([-limit, limit, limit - 1, 0], channels).astype(np.int32)
    rates = [0.05, 1, 1e30, np.inf, np.nan, 0]
    gradients = [floats(shape, scale=100), edges(shape)]
    return [
        [bias, gradient, np.array([rate], np.float32)]
        for bias in (some, ends)
        for gradient in gradients
        for rate in rates
    ]


CASES = {
    f"{shape} by rows": Case(
        BIAS_UPDATE,
        BiasUpdateAttributes(2**31 - 1, 3.7e-4),
        samples(shape, 2**31 - 1),
        (None, None, None, rows(shape[-1])),
    )
    for shape in SHAPES
} | {
    f"{shape} {limit}": Case(
        BIAS_UPDATE,
        BiasUpdateAttributes(limit),
        samples(shape, limit),
        (None, None, None, np.abs(floats((shape[-1],), 5, 30))),
    )
    for shape in SHAPES
    for limit in LIMITS
}


@quick_some("name", CASES, 5)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    check(library, name, CASES[name])


@quick_some("name", CASES, 5)
def test_meaning_is_gradient_and_update(name: str) -> None:
    case = CASES[name]
    scale = case.constants[-1]
    assert isinstance(case.attributes, BiasUpdateAttributes)
    assert scale is not None
    if case.attributes.factor:
        real = real_scale(scale)
        scale = np.float32(case.attributes.factor) / (real * real)
    update = SgdUpdateAttributes(0, (), case.attributes.limit)
    for (bias, gradient, rate), expected in zip(case.samples, case.expected, strict=True):
        summed = BIAS_GRADIENT.meaning(Attributes(), gradient)
        apart = SGD_UPDATE.meaning(update, bias, summed, rate, scale)
        np.testing.assert_array_equal(apart, expected)
