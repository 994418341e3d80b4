"""Every table of an activation against TFLite Micro, all 256 inputs at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.schedules.suite import needs_tflm
from tests.support import one_operator as one
from tests.support import tflm
from tests.support.evaluate_tiny import evaluate, operators, rewrite
from tests.support.quick import quick_some
from tests.support.tflite_writer import Model, Operator, Tensor, write
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.schedules import activations
from tvm_tiny.schedules.activations import Scaling

ALL = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
SCALES = (0.001, 0.01, 0.0234, 1 / 16, 0.1, 0.25, 0.7, 2.0, 9.0)
POINTS = (-128, -100, -3, 0, 55, 127)


def model(builtin: str, source: Tensor, output: tuple[float, int], alpha: float = 0.0) -> Model:
    target = one.int8_tensor((1, 256), *output, "output")
    options = {"alpha": alpha} if alpha else {}
    return Model((source, target), (Operator(builtin, (0,), (1,), options),), (0,), (1,))


def check(tflite: Model) -> None:
    content = write(tflite)
    module = rewrite(from_tflite(content))
    assert operators(module) == ["lookup"]
    ((expected,),) = tflm.run(content, [[ALL]])
    (actual,) = evaluate(module, ALL)
    np.testing.assert_array_equal(actual, expected)


def source(scale: float, zero_point: int) -> Tensor:
    return one.int8_tensor((1, 256), scale, zero_point)


@needs_tflm
@pytest.mark.parametrize("zero_point", POINTS)
@quick_some("scale", SCALES, 4)
def test_logistic_tanh_and_relu6(scale: float, zero_point: int) -> None:
    data = source(scale, zero_point)
    check(model("LOGISTIC", data, (1 / 256, -128)))
    check(model("TANH", data, (1 / 128, 0)))
    check(model("RELU6", data, (scale, zero_point)))


@needs_tflm
@quick_some("zero_point", POINTS, 3)
@quick_some("scale", SCALES, 4)
def test_activations_that_rescale(scale: float, zero_point: int) -> None:
    data = source(scale, zero_point)
    for factor, point in ((1.0, zero_point), (0.37, -128), (2.9, 11)):
        output = (scale * factor, point)
        check(model("RELU", data, output))
        check(model("HARD_SWISH", data, output))
        for alpha in (0.1, 0.3, 0.5, 1.7):
            check(model("LEAKY_RELU", data, output, alpha))


@needs_tflm
def test_relu6_does_not_rescale() -> None:
    check(model("RELU6", source(0.05, -20), (0.03, 5)))


def test_a_negative_slope_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="negative slope"):
        activations.leaky_relu(Scaling(0.1, 0, 0.1, 0), -0.5)


def test_a_hard_swish_that_the_reference_refuses_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="output scale is below 1/128 of the input's"):
        activations.hard_swish(Scaling(1.0, 0, 0.005, 0))


@pytest.mark.parametrize(
    ("table", "real", "output"),
    [
        (activations.logistic, lambda x: 1 / (1 + np.exp(-x)), (1 / 256, -128)),
        (activations.tanh, np.tanh, (1 / 128, 0)),
        (activations.relu, lambda x: np.maximum(x, 0), (0.03, -128)),
        (activations.hard_swish, lambda x: x * np.clip(x + 3, 0, 6) / 6, (0.04, -110)),
        (
            partial(activations.leaky_relu, alpha=0.2),
            lambda x: np.where(x > 0, x, 0.2 * x),
            (0.05, -60),
        ),
    ],
)
def test_tables_are_close_to_the_real_function(
    table: object, real: object, output: tuple[float, int]
) -> None:
    assert callable(table) and callable(real)
    scale, zero_point = output
    values = table(Scaling(0.04, -10, scale, zero_point))
    reals = real(0.04 * (np.arange(-128, 128) + 10.0))
    expected = np.clip(reals / scale + zero_point, -128, 127)
    assert np.abs(values - expected).max() <= 1.01
