from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import ir, relax

from tests.importers.evaluate import run
from tests.relay_passes.modules import (
    assert_same_values,
    module,
    nested,
    only_call,
    parameters_of,
    quantized,
    real,
    tensor,
)
from tests.support.evaluate_tiny import evaluate, operators, rewrite
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Array, attributes_of
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qadd import QADD
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

GENERATOR = np.random.default_rng(0)
IMAGE = (1, 5, 6, 3)
SCALE, POINT = 0.05, -7
F32 = float(np.float32(SCALE))


def weights(*shape: int) -> Array:
    return np.random.default_rng(1).integers(-127, 128, shape, np.int8)


def rewritten(build: Callable[[Any], Any], shape: tuple[int, ...] = IMAGE) -> Any:
    """Return the rewritten module of quantize(build(dequantize(x)))."""
    x = tensor("x", shape)
    return rewrite(nested(quantized(build(real(x, SCALE, POINT)), 0.1, 3), x))


def inputs_of(shape: tuple[int, ...] = IMAGE) -> Array:
    return np.random.default_rng(2).integers(-128, 128, shape, np.int8)


def close_to_float(build: Callable[[Array], Array], module_: Any, steps: float = 1.0) -> None:
    """Assert that results are within a step of the float function, quantised."""
    x = inputs_of()
    (actual,) = evaluate(module_, x)
    reals = build(SCALE * (x.astype(np.float64) - POINT))
    expected = np.clip(reals / 0.1 + 3, -128, 127)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= steps + 1e-3


# Convolutions and dense layers

SCALES: dict[str, Any] = {
    "input_scale": float(np.float32(SCALE)),
    "output_scale": float(np.float32(0.1)),
}


def conv(data: Any, weight: Any, **options: Any) -> Any:
    options = {"data_layout": "NHWC", "kernel_layout": "OHWI", "padding": (1, 0, 2, 1), **options}
    return relax.op.nn.conv2d(data, weight, **options)


def test_a_convolution_with_bias_and_relu() -> None:
    x, weight = tensor("x", IMAGE), weights(4, 3, 3, 3)
    bias = np.arange(4, dtype=np.int32) * 100
    scales = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
    unit = np.float32(SCALE) * scales
    summed = conv(real(x, SCALE, POINT), real(weight, scales, axis=0), strides=(2, 1))
    summed = relax.op.add(summed, real(bias, unit, axis=0))
    before = nested(quantized(relax.op.nn.relu(summed), 0.1, 3), x, source="tflite")

    window: dict[str, Any] = {"strides": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 1)}
    attrs = QConv2DAttributes(POINT, 3, 3, 127, **window, **SCALES)
    reals = np.float64(np.float32(SCALE)) * scales.astype(np.float64) / np.float64(np.float32(0.1))
    numbers = [constant(n) for n in numerics.quantize_multiplier(reals)]
    expected = nested(QCONV2D(attrs, x, constant(weight), constant(bias), *numbers), x)
    assert_attributes_equal(rewrite(before), expected, "tiny.qconv2d")


def assert_attributes_equal(actual: Any, expected: Any, name: str) -> None:
    """Assert the same one call, whatever its layer is called."""
    one, other = only_call(actual, name), only_call(expected, name)
    strip = {"layer": ""}
    assert {**attributes_of(one).as_dict(), **strip} == {**attributes_of(other).as_dict(), **strip}
    pairs = zip(one.args, other.args, strict=True)
    for a, b in [pair for pair in pairs if isinstance(pair[0], ir.GenericConst)]:
        np.testing.assert_array_equal(a.value.numpy(), b.value.numpy())


@pytest.mark.parametrize(
    ("layout", "order", "axis"), [("OHWI", (0, 1, 2, 3), 0), ("HWIO", (1, 2, 3, 0), 3)]
)
def test_weights_in_any_layout(layout: str, order: tuple[int, ...], axis: int) -> None:
    weight = weights(4, 3, 3, 3)
    scales = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
    moved = real(np.ascontiguousarray(weight.transpose(order)), scales, axis=axis)
    after = rewritten(lambda data: conv(data, moved, kernel_layout=layout))
    np.testing.assert_array_equal(only_call(after, "tiny.qconv2d").args[1].value.numpy(), weight)


def test_nchw_stands_between_transposes() -> None:
    weight = real(weights(4, 5, 2, 2), 0.01)
    after = rewritten(
        lambda data: relax.op.nn.conv2d(data, weight, data_layout="NCHW", kernel_layout="OIHW")
    )
    assert operators(after) == ["transpose", "qconv2d", "transpose"]


@pytest.mark.parametrize(("depth", "groups", "expected"), [(3, 3, True), (6, 3, False)])
def test_only_groups_of_one_channel_are_depthwise(depth: int, groups: int, expected: bool) -> None:
    weight = real(weights(6, 3, 3, depth // groups), 0.01)
    shape = (1, 5, 6, depth)
    after = rewritten(lambda data: conv(data, weight, groups=groups), shape)
    assert operators(after) == ["qdepthwise_conv2d" if expected else "qconv2d"]


def test_a_single_channel_image_is_no_depthwise_convolution() -> None:
    weight = real(weights(6, 3, 3, 1), 0.01)
    assert operators(rewritten(lambda data: conv(data, weight), (1, 5, 6, 1))) == ["qconv2d"]


def test_a_float_bias_is_quantised() -> None:
    weight, bias = real(weights(4, 3, 3, 3), 0.01), np.array([1.0, -2.0, 0.3, 0.0], np.float32)
    after = rewritten(lambda data: relax.op.add(conv(data, weight), relax.const(bias)))
    call = only_call(after, "tiny.qconv2d")
    unit = F32 * float(np.float32(0.01)) / 2 ** attributes_of(call).fraction_bits
    np.testing.assert_array_equal(call.args[2].value.numpy(), np.round(bias / unit))


def test_weights_with_a_zero_point_are_refused() -> None:
    weight = real(weights(4, 3, 3, 3), 0.01, 5)
    with pytest.raises(UnsupportedError, match=r"operator nn\.conv2d has no integer form"):
        rewritten(lambda data: conv(data, weight))


def test_weights_at_run_time_are_refused() -> None:
    x, w = tensor("x", IMAGE), tensor("w", (4, 3, 3, 3))
    before = nested(quantized(conv(real(x, SCALE), real(w, 0.01)), 0.1), x, w)
    with pytest.raises(UnsupportedError, match="no integer form"):
        rewrite(before)


def test_a_dense_layer() -> None:
    x, weight = tensor("x", (2, 12)), weights(12, 5)
    product = relax.op.matmul(real(x, SCALE, POINT), real(weight, 0.01))
    before = nested(quantized(relax.op.clip(product, 0, 6), 0.1, 3), x, source="tflite")
    unit = np.float64(np.float32(SCALE) * np.float32(0.01)) / np.float64(np.float32(0.1))
    numbers = [constant(n) for n in numerics.quantize_multiplier(np.full(5, unit))]
    zeros = constant(np.zeros(5, np.int32))
    attrs = QDenseAttributes(POINT, 3, 3, 63, **SCALES)
    expected = nested(
        QDENSE(attrs, x, constant(np.ascontiguousarray(weight.T)), zeros, *numbers), x
    )
    assert_attributes_equal(rewrite(before), expected, "tiny.qdense")


# Element-wise


def scalar(value: float) -> Any:
    return relax.const(np.float32(value))


TABLES: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "sigmoid": (relax.op.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (relax.op.tanh, np.tanh),
    "relu": (relax.op.nn.relu, lambda x: np.maximum(x, 0)),
    "silu": (relax.op.nn.silu, lambda x: x / (1 + np.exp(-x))),
    "leaky": (lambda d: relax.op.nn.leakyrelu(d, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "exp of negative": (lambda d: relax.op.exp(relax.op.negative(d)), lambda x: np.exp(-x)),
    "twice plus one": (
        lambda d: relax.op.add(relax.op.multiply(d, scalar(2)), scalar(1)),
        lambda x: 2 * x + 1,
    ),
    "x times its sigmoid": (
        lambda d: relax.op.multiply(d, relax.op.sigmoid(d)),
        lambda x: x / (1 + np.exp(-x)),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_functions_of_one_tensor_are_tables(name: str) -> None:
    make, function = TABLES[name]
    after = rewritten(make)
    assert operators(after) == ["lookup"]
    close_to_float(function, after, 0.5)


def test_the_same_tables_are_fixed_point_in_tflite_models() -> None:
    x = tensor("x", IMAGE)
    data = quantized(relax.op.sigmoid(real(x, SCALE, POINT)), 1 / 256, -128)
    exact = rewrite(module([x], lambda emit, _: data, source="tflite"))
    values = evaluate(exact, inputs_of())[0]
    reals = 1 / (1 + np.exp(-SCALE * (inputs_of().astype(float) - POINT)))
    assert np.abs(values - np.clip(reals * 256 - 128, -128, 127)).max() <= 1
    unknown = quantized(relax.op.exp(real(x, SCALE, POINT)), 0.1)
    with pytest.raises(UnsupportedError, match="operator exp has no integer form"):
        rewrite(module([x], lambda emit, _: unknown, source="tflite"))


def test_a_function_of_two_tensors_is_no_table() -> None:
    x, y = tensor("x", IMAGE), tensor("y", IMAGE)
    largest = relax.op.maximum(real(x, SCALE), real(y, SCALE))
    with pytest.raises(UnsupportedError, match="operator maximum has no integer form"):
        rewrite(nested(quantized(largest, 0.1), x, y))


@pytest.mark.parametrize(
    ("operator", "function", "expected"),
    [
        (relax.op.add, np.add, "qadd"),
        (relax.op.subtract, np.subtract, "qadd"),
        (relax.op.multiply, np.multiply, "qmul"),
    ],
)
def test_two_tensors(operator: Any, function: Any, expected: str) -> None:
    x, y = tensor("x", IMAGE), tensor("y", (1, 1, 1, 3))
    both = operator(real(x, SCALE, POINT), real(y, 0.03, 5))
    after = rewrite(nested(quantized(relax.op.nn.relu(both), 0.1, 3), x, y))
    assert operators(after) == [expected]
    a, b = inputs_of(), inputs_of((1, 1, 1, 3))
    (actual,) = evaluate(after, a, b)
    reals = function(SCALE * (a.astype(float) - POINT), 0.03 * (b.astype(float) - 5))
    np.testing.assert_allclose(actual, np.clip(np.maximum(reals, 0) / 0.1 + 3, -128, 127), atol=1)


def test_a_constant_number_as_operand_is_a_table() -> None:
    number = real(np.array([50], np.int8), 0.02)
    after = rewritten(lambda data: relax.op.multiply(data, number))
    assert operators(after) == ["lookup"]
    close_to_float(lambda x: x * 1.0, after)


def test_a_constant_tensor_as_operand_stays_one() -> None:
    vector = real(np.array([50, -20, 3], np.int8), 0.02)
    call = only_call(rewritten(lambda data: relax.op.add(data, vector)), QADD.name)
    np.testing.assert_array_equal(call.args[1].value.numpy(), [50, -20, 3])


def test_requantising_is_nothing_or_a_table() -> None:
    x = tensor("x", IMAGE)
    same = nested(quantized(real(x, SCALE, POINT), SCALE, POINT), x)
    assert operators(rewrite(same)) == []
    other = nested(quantized(real(x, SCALE, POINT), SCALE, POINT + 1), x)
    assert operators(rewrite(other)) == ["lookup"]
    close_to_float(lambda x: x, rewritten(lambda data: data), 0.51)


# Pooling, reductions, softmax, concatenation

WINDOW: dict[str, Any] = {"pool_size": (2, 3), "strides": (2, 1), "layout": "NHWC"}
POOL = QPool2DAttributes(
    strides=(2, 1), padding=(0, 1, 1, 1), dilation=(1, 1), size=(2, 3), clamp_min=-128,
    clamp_max=127, layer="gv",
)  # fmt: skip


def test_max_pooling_acts_on_integers() -> None:
    x = tensor("x", IMAGE)
    pooled = relax.op.nn.max_pool2d(real(x, SCALE, POINT), padding=(0, 1, 1, 1), **WINDOW)
    before = nested(quantized(pooled, SCALE, POINT), x)
    assert_attributes_equal(rewrite(before), nested(QMAX_POOL2D(POOL, x), x), "tiny.qmax_pool2d")
    direct = nested(relax.op.nn.max_pool2d(x, padding=(0, 1, 1, 1), **WINDOW), x)
    assert_attributes_equal(rewrite(direct), nested(QMAX_POOL2D(POOL, x), x), "tiny.qmax_pool2d")


@pytest.mark.parametrize(
    ("count_pad", "expected"), [(False, ["qavg_pool2d"]), (True, ["pad", "qavg_pool2d"])]
)
def test_average_pooling(count_pad: bool, expected: list[str]) -> None:
    x = tensor("x", IMAGE)
    pooled = relax.op.nn.avg_pool2d(
        real(x, SCALE, POINT), padding=(0, 1, 1, 1), count_include_pad=count_pad, **WINDOW
    )
    after = rewrite(nested(quantized(pooled, SCALE, POINT), x, source="tflite"))
    assert operators(after) == expected
    if not count_pad:
        assert_attributes_equal(after, nested(QAVG_POOL2D(POOL, x), x), "tiny.qavg_pool2d")
    rescaled = nested(quantized(pooled, 0.1, 3), x)
    assert operators(rewrite(nested(quantized(pooled, 0.1, 3), x, source="tflite"))) == [
        *expected,
        "lookup",
    ]
    values = inputs_of()
    (expected_float,) = run(rescaled, values)
    (actual,) = evaluate(rewrite(rescaled), values)
    assert np.abs(actual.astype(int) - expected_float).max() <= 1


def test_ceil_mode_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="pooling with ceil_mode"):
        rewritten(lambda data: relax.op.nn.max_pool2d(data, ceil_mode=True, **WINDOW))


def test_mean_and_adaptive_pooling() -> None:
    after = rewritten(lambda data: relax.op.mean(data, (1, 2), keepdims=True))
    assert operators(after) == ["qmean"]
    close_to_float(lambda x: x.mean((1, 2), keepdims=True), after)
    pooled = rewritten(lambda data: relax.op.nn.adaptive_avg_pool2d(data, (1, 1), layout="NHWC"))
    x = inputs_of()
    np.testing.assert_array_equal(evaluate(pooled, x), evaluate(after, x))
    with pytest.raises(UnsupportedError, match="adaptive_avg_pool2d has no integer form"):
        rewritten(lambda data: relax.op.nn.adaptive_avg_pool2d(data, (2, 2), layout="NHWC"))


def test_softmax() -> None:
    x = tensor("x", (2, 7))
    soft = relax.op.nn.softmax(real(x, SCALE, POINT), axis=-1)
    assert operators(rewrite(nested(quantized(soft, 1 / 256, -128), x))) == ["qsoftmax"]
    assert operators(rewrite(nested(quantized(soft, 1 / 200, -128), x))) == ["qsoftmax", "lookup"]
    with pytest.raises(UnsupportedError, match="softmax has no integer form"):
        rewritten(lambda data: relax.op.nn.softmax(data, axis=1))


def test_concatenation_rescales_what_differs() -> None:
    x, y = tensor("x", (2, 3)), tensor("y", (2, 4))
    both = relax.op.concat([real(x, 0.1, 3), real(y, SCALE, POINT)], axis=1)
    after = rewrite(nested(quantized(both, 0.1, 3), x, y))
    assert operators(after) == ["lookup", "concat"]
    expected = nested(CONCAT(ConcatAttributes(1), x, y), x, y)
    assert_attributes_equal(after, nested(CONCAT(ConcatAttributes(1), x, y), x, y), "tiny.concat")
    assert operators(expected) == ["concat"]


# Operators that move values


FLOOR = {"coordinate_transformation_mode": "asymmetric", "rounding_method": "floor"}
MOVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "transpose": (
        lambda d: relax.op.permute_dims(d, (0, 3, 1, 2)),
        lambda d: TRANSPOSE(TransposeAttributes((0, 3, 1, 2)), d),
    ),
    "reverse": (
        lambda d: relax.op.permute_dims(d),
        lambda d: TRANSPOSE(TransposeAttributes((3, 2, 1, 0)), d),
    ),
    "resize": (
        lambda d: relax.op.image.resize2d(
            d,
            (10, 18),
            layout="NHWC",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        ),
        lambda d: RESIZE(ResizeAttributes((2, 3)), d),
    ),
    "reshape": (lambda d: relax.op.reshape(d, (6, 15)), lambda d: relax.op.reshape(d, (6, 15))),
    "squeeze": (lambda d: relax.op.squeeze(d, [0]), lambda d: relax.op.reshape(d, (5, 6, 3))),
    "expand": (
        lambda d: relax.op.expand_dims(d, [1]),
        lambda d: relax.op.reshape(d, (1, 1, 5, 6, 3)),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_act_on_integers(name: str) -> None:
    float_form, integer_form = MOVES[name]
    x = tensor("x", IMAGE)
    through_float = rewrite(nested(quantized(float_form(real(x, SCALE, POINT)), SCALE, POINT), x))
    direct = rewrite(nested(float_form(x), x))
    expected = nested(integer_form(x), x)
    assert operators(through_float) == operators(direct) == operators(expected)
    values = inputs_of()
    for after in (through_float, direct):
        np.testing.assert_array_equal(evaluate(after, values), evaluate(expected, values))


def test_padding_with_a_real_value_or_an_integer() -> None:
    x = tensor("x", IMAGE)
    widths = [0, 0, 1, 2, 0, 1, 0, 0]
    padded = relax.op.nn.pad(real(x, SCALE, POINT), widths, pad_value=1.0)
    after = rewrite(nested(quantized(padded, SCALE, POINT), x))
    expected = PadAttributes((0, 1, 0, 0), (0, 2, 1, 0), POINT + 20)
    assert_attributes_equal(after, nested(PAD(expected, x), x), "tiny.pad")
    direct = rewrite(nested(relax.op.nn.pad(x, widths, pad_value=-9), x))
    assert attributes_of(only_call(direct, "tiny.pad")).value == -9


def test_padding_by_reflection_is_refused() -> None:
    x = tensor("x", IMAGE)
    padded = relax.op.nn.pad(x, [0, 0, 1, 1, 0, 0, 0, 0], pad_mode="reflect")
    with pytest.raises(UnsupportedError, match=r"nn\.pad has no integer form"):
        rewrite(nested(padded, x))


@pytest.mark.parametrize(("size", "method"), [((10, 18), "linear"), ((7, 6), "nearest_neighbor")])
def test_other_resizes_are_refused(size: tuple[int, int], method: str) -> None:
    with pytest.raises(UnsupportedError, match=r"image\.resize2d has no integer form"):
        rewritten(
            lambda d: relax.op.image.resize2d(
                d,
                size,
                layout="NHWC",
                method=method,
                coordinate_transformation_mode="asymmetric",
                rounding_method="floor",
            )
        )


@pytest.mark.parametrize(
    "options",
    [
        {"coordinate_transformation_mode": "half_pixel", "rounding_method": "round"},
        {"coordinate_transformation_mode": "align_corners", "rounding_method": "floor"},
        {"coordinate_transformation_mode": "asymmetric", "rounding_method": "ceil"},
    ],
)
def test_resizes_of_other_coordinates_are_refused_or_equal(options: dict[str, str]) -> None:
    """Doubling by nearest neighbour means repeating only under some conventions."""

    def grow(data: Any) -> Any:
        return relax.op.image.resize2d(
            data, (10, 12), layout="NHWC", method="nearest_neighbor", **options
        )

    x = tensor("x", IMAGE)
    try:
        after = rewrite(nested(grow(x), x))
    except UnsupportedError:
        return
    values = inputs_of()
    (expected,) = run(
        nested(grow(tensor_f := tensor("x", IMAGE, "float32")), tensor_f), values.astype("float32")
    )
    np.testing.assert_array_equal(evaluate(after, values)[0], expected.astype(np.int8))


def test_an_integer_clip_is_a_table() -> None:
    x = tensor("x", IMAGE)
    after = rewrite(nested(relax.op.clip(x, -20, 90), x))
    table = only_call(after, "tiny.lookup").args[1].value.numpy()
    np.testing.assert_array_equal(table, np.clip(DOMAIN, -20, 90))


# Inputs, outputs, errors


def test_float_inputs_and_outputs() -> None:
    x = tensor("x", IMAGE, "float32")
    inside = relax.op.nn.relu(real(quantized(x, SCALE, POINT), SCALE, POINT))
    before = nested(real(quantized(inside, SCALE, POINT), SCALE, POINT), x)
    after = rewrite(before)
    assert operators(after) == ["quantize", "lookup", "dequantize"]
    wanted = QuantizeAttributes(F32, POINT)
    assert_attributes_equal(after, nested(QUANTIZE(wanted, x), x), "tiny.quantize")
    last = DEQUANTIZE(DequantizeAttributes(F32, POINT), tensor("q", IMAGE))
    assert attributes_of(only_call(after, "tiny.dequantize")).scale == last.attrs["scale"]
    assert list(after["main"].attrs["tiny.input_scales"]) == [0.0]


def test_ports_know_their_scales() -> None:
    after = rewritten(relax.op.nn.relu)
    attrs = after["main"].attrs
    assert [float(s) for s in attrs["tiny.input_scales"]] == [F32]
    assert [int(z) for z in attrs["tiny.input_zero_points"]] == [POINT]
    assert [float(s) for s in attrs["tiny.output_scales"]] == [float(np.float32(0.1))]
    assert [int(z) for z in attrs["tiny.output_zero_points"]] == [3]


def test_every_operator_without_integer_form_is_listed() -> None:
    x = tensor("x", IMAGE, "float32")
    before = nested(relax.op.exp(relax.op.log(x)), x)
    with pytest.raises(UnsupportedError, match="operators that cannot be compiled") as caught:
        rewrite(before)
    message = str(caught.value)
    assert "operator log has no integer form" in message
    assert "operator exp has no integer form" in message
    assert "hint: quantise the model fully to int8" in message
    assert len(caught.value.problems) == 2


def test_scales_at_run_time_are_refused() -> None:
    x, scale = tensor("x", IMAGE), tensor("scale", (), "float32")
    point = parameters_of(1.0, 0)[1]
    data = relax.op.dequantize(x, scale, point)
    with pytest.raises(UnsupportedError, match="dequantize has no integer form"):
        rewrite(nested(quantized(relax.op.nn.relu(data), 0.1), x, scale))


def test_a_module_of_the_dialect_stays() -> None:
    x = tensor("x", IMAGE)
    before = nested(TRANSPOSE(TransposeAttributes((0, 2, 1, 3)), x), x)
    after = QuantizedToTiny()(before)
    assert operators(after) == operators(before)
    assert_same_values(before, after)
