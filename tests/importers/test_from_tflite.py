from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.importers.evaluate import Array, bindings, contract_holds, only, operators, run, source
from tests.support import one_operator as one
from tests.support import tflm
from tests.support.quick import quick_first, quick_some
from tests.support.shared import reference_data, shared_models, shared_path
from tests.support.tflite_writer import Model, Operator, Tensor, write
from tvm_tiny.importers import load
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.importers.tflite_converter import quantised_bound

needs_tflm = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")

IMAGE = (1, 6, 5, 4)
# Models of one operator, and the operators they become; the last names what is bound to `output`.
QDQ = ["dequantize"]
CONV = ["dequantize", "dequantize", "nn.conv2d", "dequantize", "add", "quantize"]
DENSE = ["dequantize", "dequantize", "matmul", "dequantize", "add", "quantize"]
BINARY = ["dequantize", "dequantize"]
CASES: dict[str, tuple[Callable[[], Model], list[str]]] = {
    "conv": (lambda: one.conv2d(IMAGE, 5), CONV),
    "conv_relu6": (lambda: one.conv2d(IMAGE, 5, activation="RELU6"), CONV),
    "conv_no_bias": (
        lambda: one.conv2d(IMAGE, 5, weights=one.Weights(bias=False)),
        [*CONV[:3], "quantize"],
    ),
    "conv_per_tensor": (
        lambda: one.conv2d(IMAGE, 5, weights=one.Weights(per_channel=False)),
        CONV,
    ),
    "depthwise": (lambda: one.depthwise_conv2d(IMAGE), CONV),
    "depthwise_of_two": (lambda: one.depthwise_conv2d(IMAGE, 2), CONV),
    "depthwise_one_channel": (lambda: one.depthwise_conv2d((1, 6, 5, 1), 3), CONV),
    "dense": (lambda: one.fully_connected((1, 20), 7), DENSE),
    "dense_unflattened": (lambda: one.fully_connected((1, 2, 10), 7), ["reshape", *DENSE]),
    "dense_keep_dims": (
        lambda: one.fully_connected((1, 2, 10), 7, keep_num_dims=True),
        ["reshape", *DENSE, "reshape"],
    ),
    "add": (lambda: one.binary("ADD", IMAGE, IMAGE), [*BINARY, "add", "quantize"]),
    "add_relu": (
        lambda: one.binary("ADD", IMAGE, IMAGE, activation="RELU"),
        [*BINARY, "add", "quantize"],
    ),
    "sub": (
        lambda: one.binary("SUB", IMAGE, (1, 1, 1, 4), constant="right"),
        [*BINARY, "subtract", "quantize"],
    ),
    "mul": (
        lambda: one.binary("MUL", IMAGE, (1, 1, 1, 4)),
        [*BINARY, "multiply", "quantize"],
    ),
    "average": (
        lambda: one.pool2d("AVERAGE_POOL_2D", IMAGE),
        [*QDQ, "nn.avg_pool2d", "quantize"],
    ),
    "max": (lambda: one.pool2d("MAX_POOL_2D", IMAGE), ["nn.max_pool2d"]),
    "mean": (lambda: one.mean(IMAGE), [*QDQ, "mean", "quantize"]),
    "softmax": (lambda: one.softmax((2, 10)), [*QDQ, "nn.softmax", "quantize"]),
    "pad": (lambda: one.pad(IMAGE, ((0, 0), (1, 2), (0, 1), (0, 0))), ["nn.pad"]),
    "concatenation": (
        lambda: one.concatenation([IMAGE, (1, 6, 5, 2)]),
        [*BINARY, "concat", "quantize"],
    ),
    "quantize": (lambda: one.quantize(IMAGE), ["quantize"]),
    "requantize": (lambda: one.quantize(one.int8_tensor(IMAGE)), [*QDQ, "quantize"]),
    "dequantize": (lambda: one.dequantize(IMAGE), QDQ),
    "reshape": (lambda: one.reshape(IMAGE, (6, 20)), ["reshape"]),
    "squeeze": (lambda: one.squeeze((1, 9, 1, 6), (0, 2)), ["reshape"]),
    "transpose": (lambda: one.transpose(IMAGE, (0, 3, 1, 2)), ["permute_dims"]),
    "resize": (lambda: one.resize_nearest_neighbor(IMAGE, (12, 10)), ["image.resize2d"]),
    "slice": (
        lambda: one.strided_slice(IMAGE, (0, 1, 0, 2), (1, 5, 5, 4), (1, 2, 3, 1)),
        ["strided_slice"],
    ),
    "logistic": (partial(one.unary, "LOGISTIC", IMAGE), [*QDQ, "sigmoid", "quantize"]),
    "tanh": (partial(one.unary, "TANH", IMAGE), [*QDQ, "tanh", "quantize"]),
    "hard_swish": (
        partial(one.unary, "HARD_SWISH", IMAGE),
        [*QDQ, "add", "clip", "multiply", "divide", "quantize"],
    ),
    "relu": (partial(one.unary, "RELU", IMAGE), [*QDQ, "nn.relu", "quantize"]),
    "relu6": (partial(one.unary, "RELU6", IMAGE), [*QDQ, "clip", "quantize"]),
    "leaky_relu": (partial(one.unary, "LEAKY_RELU", IMAGE), [*QDQ, "nn.leakyrelu", "quantize"]),
}


def random_inputs(model: Model) -> list[Array]:
    generator = np.random.default_rng(0)
    inputs = []
    for tensor in (model.tensors[index] for index in model.inputs):
        values = generator.integers(-128, 128, tensor.shape)
        inputs.append((values / 40 if tensor.dtype == "float32" else values).astype(tensor.dtype))
    return inputs


@pytest.mark.parametrize("name", CASES)
def test_an_operator_becomes_this(name: str) -> None:
    make, expected = CASES[name]
    module = from_tflite(write(make()))
    contract_holds(module)
    assert operators(module) == expected


@needs_tflm
@quick_some("name", CASES, 5)
def test_results_are_within_one_step_of_tflm(name: str) -> None:
    model = CASES[name][0]()
    inputs = random_inputs(model)
    ((expected,),) = tflm.run(write(model), [inputs])
    (actual,) = run(from_tflite(write(model)), *inputs)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    # RELU6 on a tensor of its own scale and 16-bit tables of TFLite Micro may be one step off
    assert np.abs(actual.astype(float) - expected.astype(float)).max() <= 1


def test_weights_are_one_dequantize_of_a_constant_whatever_the_layout() -> None:
    for model, layout, axis, shape in (
        (one.conv2d(IMAGE, 5), "HWIO", 3, (3, 3, 4, 5)),
        (one.depthwise_conv2d(IMAGE, 2), "HWOI", 2, (3, 3, 8, 1)),
        (one.depthwise_conv2d((1, 6, 5, 1), 3), "HWIO", 3, (3, 3, 1, 3)),
    ):
        module = from_tflite(write(model))
        conv = only(module, "nn.conv2d")
        weights = source(module, conv, 1)
        assert (conv.attrs.data_layout, conv.attrs.kernel_layout) == ("NHWC", layout)
        assert weights.args[0].value.numpy().shape == shape
        assert weights.attrs.axis == axis
    module = from_tflite(write(one.fully_connected((1, 20), 7)))
    weights = source(module, only(module, "matmul"), 1)
    assert weights.args[0].value.numpy().shape == (20, 7)


def test_scales_are_the_exact_float32_values() -> None:
    model = one.conv2d(IMAGE, 5)
    module = from_tflite(write(model))
    weights = source(module, only(module, "nn.conv2d"), 1)
    expected = np.array(model.tensors[1].scales, np.float32)
    np.testing.assert_array_equal(weights.args[1].value.numpy(), expected)


@pytest.mark.parametrize(
    ("bound", "scale", "zero_point", "expected"),
    [
        (0.0, 0.1, -7, -7),
        (6.0, 0.1, -7, 53),
        (6.0, 0.01, -7, 127),
        (-1.0, 0.4, 0, -3),  # -2.5 away from zero, where round() gives -2
        (1.0, 0.4, 0, 3),
        (-1.0, 0.001, 0, -128),
    ],
)
def test_bounds_round_half_away_from_zero(
    bound: float, scale: float, zero_point: int, expected: int
) -> None:
    assert quantised_bound(bound, scale, zero_point) == expected


@pytest.mark.parametrize(
    ("zero_point", "expected"), [(-128, []), (-100, ["clip"])], ids=["all of int8", "a part"]
)
def test_only_a_clip_that_clips_is_kept(zero_point: int, expected: list[str]) -> None:
    output = Tensor("out", IMAGE, "int8", (0.02,), zero_point)
    model = Model(
        (one.int8_tensor(IMAGE), output),
        (Operator("ADD", (0, 0), (1,), {"fused_activation_function": "RELU"}),),
        (0,),
        (1,),
    )
    module = from_tflite(write(model))
    assert operators(module) == [*BINARY, "add", "quantize", *expected]
    if expected:
        assert [bound.value for bound in only(module, "clip").args[1:]] == [-100, 127]


def test_padding_is_the_zero_point() -> None:
    model = one.pad(one.int8_tensor(IMAGE, zero_point=-9), ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert only(from_tflite(write(model)), "nn.pad").attrs.pad_value == -9


def test_names_and_attributes() -> None:
    tensor = one.int8_tensor(IMAGE, name="int")
    weird = Tensor("model/a b;bn", IMAGE, "int8", (0.02,), 0)
    same = Tensor("model/a.b", IMAGE, "int8", (0.02,), 0)
    model = Model(
        (tensor, weird, same),
        (Operator("ADD", (0, 0), (1,)), Operator("ADD", (1, 0), (2,))),
        (0,),
        (2, 1),
    )
    module = from_tflite(write(model))
    main = module["main"]
    assert [parameter.name for parameter in main.params] == ["int_"]
    assert list(main.attrs["tiny.input_names"]) == ["int"]
    assert list(main.attrs["tiny.output_names"]) == ["model/a.b", "model/a b;bn"]
    assert str(main.attrs["tiny.source"]) == "tflite"
    names = [binding.var.name for binding in bindings(module)]
    assert names[3::4] == ["model_a_b", "model_a_b_1"]
    assert names[2] == "model_a_b_add"
    assert [field.name for field in main.body.body.fields] == ["model_a_b_1", "model_a_b"]


def test_float_tensors_with_quantisation_stay_float() -> None:
    tensor = Tensor("x", IMAGE, "float32", (0.5,), 3)
    model = Model(
        (tensor, Tensor("y", IMAGE, "float32")), (Operator("TANH", (0,), (1,)),), (0,), (1,)
    )
    assert operators(from_tflite(write(model))) == ["tanh"]


def test_axis_of_a_single_scale_means_nothing() -> None:
    model = one.conv2d(IMAGE, 5, weights=one.Weights(per_channel=False))
    weights = model.tensors[1]
    odd = Tensor(weights.name, weights.shape, "int8", weights.scales, 0, 3, weights.data)
    tensors = (model.tensors[0], odd, *model.tensors[2:])
    module = from_tflite(write(Model(tensors, model.operators, model.inputs, model.outputs)))
    assert operators(module) == CONV


@pytest.mark.parametrize("name", [n for n in shared_models() if "kws01_dscnn_fp32" not in n])
def test_shared_models_import(name: str) -> None:
    module = load(shared_path("models", *name.split("/")))
    contract_holds(module)
    assert str(module["main"].attrs["tiny.source"]) == "tflite"


@quick_first("name", ["ad", "kws"])
def test_whole_models_are_close_to_tflm(name: str) -> None:
    data, inputs, outputs = reference_data(name)
    (actual,) = run(load(data), inputs[:1])
    error: Any = np.abs(actual.astype(int) - outputs[:1].astype(int))
    # rounding differs per layer and adds up; the integer form is exact, not this one
    assert error.max() <= 8
