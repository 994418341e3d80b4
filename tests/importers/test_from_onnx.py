from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.importers.evaluate import bindings, contract_holds, only, operators, run, source
from tests.importers.onnx_models import (
    IMAGE,
    images,
    model,
    net,
    node,
    quantised,
    random,
    run_onnxruntime,
)
from tests.support.quick import quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.importers import load

onnxruntime = pytest.importorskip("onnxruntime")

FORMS = [
    ("QDQ", "QInt8", True),
    ("QDQ", "QUInt8", False),
    ("QOperator", "QInt8", False),
    ("QOperator", "QUInt8", True),
]


@pytest.mark.slow
@pytest.mark.parametrize("form, activations, per_channel", FORMS)
def test_a_quantised_net(tmp_path: Path, form: str, activations: str, per_channel: bool) -> None:
    given = quantised(tmp_path, form, activations, per_channel)
    module = load(given)
    contract_holds(module)
    script = module.script(show_meta=False)
    assert "uint8" not in script
    step = float(only_scale_of_output(module))
    for image in images(2):
        (expected,) = run_onnxruntime(given, image)
        (actual,) = run(module, image)
        assert np.abs(actual - expected).max() <= step + 1e-6


def only_scale_of_output(module: Any) -> float:
    scales = [b.value.args[1] for b in bindings(module) if "quantize" in operator_name(b)]
    value: float = scales[-1].value.numpy().item()
    return value


def operator_name(binding: Any) -> str:
    return str(getattr(getattr(binding.value, "op", None), "name", ""))


def test_a_float_net() -> None:
    given = net()
    module = load(given)
    contract_holds(module)
    for image in images(2):
        (expected,) = run_onnxruntime(given, image)
        np.testing.assert_allclose(run(module, image)[0], expected, atol=1e-5)


def test_names_attributes_and_batch() -> None:
    main = load(net("batch"))["main"]
    assert [int(extent) for extent in main.params[0].ty.shape] == list(IMAGE)
    assert list(main.attrs["tiny.input_names"]) == ["x"]
    assert list(main.attrs["tiny.output_names"]) == ["y"]
    assert str(main.attrs["tiny.source"]) == "onnx"
    names = [binding.var.name for binding in main.body.blocks[0].bindings]
    assert names[:5] == ["c1_conv2d", "c1", "r1", "c2_conv2d", "c2"]
    assert names[-1] == main.body.body.name == "y"


def test_the_callers_model_is_left_alone() -> None:
    given = net()
    before = given.SerializeToString()
    load(given)
    assert given.SerializeToString() == before


def qlinear_conv(x_dtype: Any, w_zero: int = 0) -> onnx.ModelProto:
    zero = x_dtype(7)
    constants = {
        "xs": np.float32(0.05),
        "z": zero,
        "w": np.arange(-12, 12, dtype=np.int8).reshape(2, 3, 2, 2),
        "ws": np.array([0.1, 0.2], np.float32),
        "wz": np.array([w_zero, w_zero], np.int8),
        "ys": np.float32(0.3),
        "b": np.array([100, -100], np.int32),
    }
    chain = [
        node("QuantizeLinear", "x", "xs", "z", output="xq"),
        node("QLinearConv", "xq", "xs", "z", "w", "ws", "wz", "ys", "z", "b", output="yq"),
        node("DequantizeLinear", "yq", "ys", "z"),
    ]
    return model(chain, constants)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_qlinear_conv_becomes_qdq_with_the_product_of_scales(dtype: Any) -> None:
    module = load(qlinear_conv(dtype))
    form = ["dequantize", "dequantize", "nn.conv2d", "dequantize", "add", "quantize"]
    assert operators(module) == ["quantize", *form, "dequantize"]
    conv = only(module, "nn.conv2d")
    assert (conv.attrs.data_layout, conv.attrs.kernel_layout) == ("NCHW", "OIHW")
    bias = source(module, only(module, "add"), 1)
    assert bias.attrs.axis == 1
    assert bias.args[0].value.numpy().reshape(-1).tolist() == [100, -100]
    np.testing.assert_array_equal(
        bias.args[1].value.numpy(), np.float32(0.05) * np.array([0.1, 0.2], np.float32)
    )
    zero_point = source(module, conv, 0).args[2].value.numpy()
    assert zero_point == (7 if dtype is np.int8 else 7 - 128)


def quantised_binary(operator: str) -> onnx.ModelProto:
    constants = {
        "s": np.float32(0.02),
        "z": np.uint8(131),
        "ys": np.float32(0.05),
        "yz": np.uint8(100),
    }
    inputs = ["a", "s", "z", "a", "s", "z", "ys", "yz"]
    if operator == "QLinearConcat":
        inputs = ["ys", "yz", "a", "s", "z", "a", "s", "z"]
    attributes = {"axis": 1} if operator == "QLinearConcat" else {}
    chain = [
        node("QuantizeLinear", "x", "s", "z", output="a"),
        node(operator, *inputs, output="q", domain="com.microsoft", **attributes),
        node("DequantizeLinear", "q", "ys", "yz"),
    ]
    return model(chain, constants)


def quantised_unary(operator: str, **attributes: Any) -> onnx.ModelProto:
    constants = {
        "s": np.float32(0.02),
        "z": np.uint8(131),
        "ys": np.float32(0.02),
        "yz": np.uint8(100),
    }
    chain = [
        node("QuantizeLinear", "x", "s", "z", output="a"),
        node(operator, "a", "s", "z", "ys", "yz", output="q", domain="com.microsoft", **attributes),
        node("DequantizeLinear", "q", "ys", "yz"),
    ]
    return model(chain, constants)


def qgemm() -> onnx.ModelProto:
    constants = {
        "s": np.float32(0.02),
        "z": np.uint8(131),
        "w": np.arange(-60, 60, dtype=np.int8).reshape(40, 3),
        "ws": np.array([0.01, 0.02, 0.03], np.float32),
        "wz": np.zeros(3, np.int8),
        "b": np.array([1, -2, 3], np.int32),
        "ys": np.float32(0.2),
    }
    chain = [
        node("QuantizeLinear", "x", "s", "z", output="a"),
        node(
            "QGemm", "a", "s", "z", "w", "ws", "wz", "b", "ys", "z",
            output="q", domain="com.microsoft",
        ),
        node("DequantizeLinear", "q", "ys", "z"),
    ]  # fmt: skip
    return model(chain, constants, (1, 40))


def qlinear_matmul() -> onnx.ModelProto:
    given = qgemm()
    inputs = given.graph.node[1].input
    names = [*inputs[:6], "ys", "z"]
    del given.graph.node[1:2]
    given.graph.node.insert(1, node("QLinearMatMul", *names, output="q"))
    return given


QOPERATOR_MODELS = {
    "QLinearAdd": lambda: quantised_binary("QLinearAdd"),
    "QLinearMul": lambda: quantised_binary("QLinearMul"),
    "QLinearConcat": lambda: quantised_binary("QLinearConcat"),
    "QLinearSigmoid": lambda: quantised_unary("QLinearSigmoid"),
    "QLinearLeakyRelu": lambda: quantised_unary("QLinearLeakyRelu", alpha=0.1),
    "QLinearGlobalAveragePool": lambda: quantised_unary("QLinearGlobalAveragePool"),
    "QLinearAveragePool": lambda: quantised_unary("QLinearAveragePool", kernel_shape=[2, 2]),
    "QLinearSoftmax": lambda: quantised_unary("QLinearSoftmax", axis=-1, opset=13),
    "QLinearMatMul": qlinear_matmul,
    "QGemm": qgemm,
}


@quick_some("name", QOPERATOR_MODELS, 4)
def test_fused_operators_equal_onnxruntime(name: str) -> None:
    given = QOPERATOR_MODELS[name]()
    shape = [extent.dim_value for extent in given.graph.input[0].type.tensor_type.shape.dim]
    image = random(*shape)
    (expected,) = run_onnxruntime(given, image)
    module = load(given)
    contract_holds(module)
    step = only_scale_of_output(module)
    assert np.abs(run(module, image)[0] - expected).max() <= step * 1.001


def test_uint8_that_the_caller_sees_stays() -> None:
    constants = {"s": np.float32(0.1), "z": np.uint8(3)}
    given = model([node("DequantizeLinear", "x", "s", "z")], constants, dtype=TensorProto.UINT8)
    module = load(given)
    assert module["main"].params[0].ty.dtype == "uint8"
    assert only(module, "dequantize").args[2].value.numpy() == 3


@pytest.mark.parametrize("operator", ["HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu"])
def test_activations(operator: str) -> None:
    given = model([node(operator, "x")], {})
    image = random(*IMAGE) * 10
    np.testing.assert_allclose(run(load(given), image), run_onnxruntime(given, image), atol=1e-6)


def test_clip_bounds() -> None:
    zero, six = np.float32(0), np.float32(6)
    relu = model([node("Clip", "x", "low")], {"low": zero})
    both = model([node("Clip", "x", "low", "high")], {"low": zero, "high": six})
    assert operators(load(relu)) == ["nn.relu"]
    assert [bound.value for bound in only(load(both), "clip").args[1:]] == [0.0, 6.0]


def test_batch_norm_folds_into_a_float_convolution() -> None:
    constants = {"w": random(4, 3, 3, 3), "g": random(4), "o": random(4), "m": random(4)}
    constants["v"] = np.abs(random(4)) + 1
    chain = [
        node("Conv", "x", "w", output="c"),
        node("BatchNormalization", "c", "g", "o", "m", "v"),
    ]
    given = model(chain, constants)
    image = random(*IMAGE)
    module = load(given)
    assert operators(module) == ["nn.conv2d", "add"]
    np.testing.assert_allclose(run(module, image), run_onnxruntime(given, image), atol=1e-5)


def test_batch_norm_alone_is_multiply_and_add() -> None:
    constants = {name: np.abs(random(3)) + 1 for name in "gomv"}
    given = model([node("BatchNormalization", "x", "g", "o", "m", "v")], constants)
    image = random(*IMAGE)
    assert operators(load(given)) == ["multiply", "add"]
    np.testing.assert_allclose(run(load(given), image), run_onnxruntime(given, image), atol=1e-5)


def test_batch_norm_after_a_quantised_convolution_is_refused() -> None:
    constants = {
        "w": np.ones((4, 3, 3, 3), np.int8),
        "s": np.float32(0.1),
        **{name: np.ones(4, np.float32) for name in "gomv"},
    }
    chain = [
        node("DequantizeLinear", "w", "s", output="wf"),
        node("Conv", "x", "wf", output="c"),
        node("BatchNormalization", "c", "g", "o", "m", "v"),
    ]
    with pytest.raises(UnsupportedError, match="batch norm after a quantised Conv"):
        load(model(chain, constants))


def test_shape_arithmetic_folds() -> None:
    chain = [
        node("Shape", "x", output="shape"),
        node("Gather", "shape", "zero", output="batch"),
        node("Unsqueeze", "batch", "axis", output="batch1"),
        node("Concat", "batch1", "rest", output="target", axis=0),
        node("Reshape", "x", "target"),
    ]
    constants = {
        "zero": np.int64(0),
        "axis": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
    }
    module = load(model(chain, constants, ("N", 3, 16, 16), output_rank=2))
    assert operators(module) == ["reshape"]
    assert list(module["main"].ret_ty.shape) == [1, 768]


def test_older_opsets_are_converted() -> None:
    given = model([node("Softmax", "x", axis=1)], {}, opset=11)
    image = random(*IMAGE)
    np.testing.assert_allclose(run(load(given), image), run_onnxruntime(given, image), atol=1e-6)


def test_constant_nodes_of_every_kind() -> None:
    chain = [
        node("Constant", output="half", value_float=0.5),
        node("Constant", output="shape", value_ints=[1, -1]),
        node("Mul", "x", "half", output="m"),
        node("Reshape", "m", "shape"),
    ]
    module = load(model(chain, {}, output_rank=2))
    assert operators(module) == ["multiply", "reshape"]
    assert run(module, np.ones(IMAGE, np.float32))[0].max() == 0.5
