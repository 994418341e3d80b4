"""Every broken ONNX model gives one error that names the node or tensor and the reason."""

import random as randomness
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.importers.onnx_models import IMAGE, model, net, node, random
from tvm_tiny.errors import ModelError, TinyError, UnsupportedError
from tvm_tiny.importers import load

NAN, INFINITY = float("nan"), float("inf")


def conv(shape: Any = IMAGE, **attributes: Any) -> onnx.ModelProto:
    return model([node("Conv", "x", "w", **attributes)], {"w": random(4, 3, 3, 3)}, shape)


def pool(operator: str = "MaxPool", **attributes: Any) -> onnx.ModelProto:
    return model([node(operator, "x", **attributes)], {})


def qdq(scale: Any, zero_point: Any = None, **attributes: Any) -> onnx.ModelProto:
    zero = np.int8(0) if zero_point is None else zero_point
    chain = [
        node("QuantizeLinear", "x", "s", "z", output="q", **attributes),
        node("DequantizeLinear", "q", "s", "z", **attributes),
    ]
    return model(chain, {"s": np.asarray(scale, np.float32), "z": zero})


def one(operator: str, constants: Mapping[str, Any], **attributes: Any) -> onnx.ModelProto:
    return model([node(operator, "x", *constants, **attributes)], constants)


def opset(version: int, domain: str = "") -> onnx.ModelProto:
    given = net()
    given.opset_import[0].version = version
    given.opset_import[0].domain = domain
    return given


def with_nodes(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return model(nodes, {})


def no_nodes() -> onnx.ModelProto:
    given = with_nodes(node("Relu", "x"))
    del given.graph.node[:]
    given.graph.output[0].name = "x"
    return given


def same_input_twice() -> onnx.ModelProto:
    given = with_nodes(node("Relu", "x"))
    given.graph.input.append(given.graph.input[0])
    return given


def short_constant() -> onnx.ModelProto:
    given = conv()
    given.graph.initializer[0].raw_data = b"\0" * 8
    return given


def negative_constant_dimension() -> onnx.ModelProto:
    given = conv()
    given.graph.initializer[0].dims[0] = -4
    return given


def outside_weights() -> onnx.ModelProto:
    given = conv()
    tensor = given.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return given


def batch_norm_of(variance: float) -> onnx.ModelProto:
    constants = {name: np.ones(3, np.float32) for name in "gom"}
    return one("BatchNormalization", {**constants, "v": np.full(3, variance, np.float32)})


BROKEN: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "zero_dilation": (lambda: conv(dilations=[0, 1]), "Conv 'Conv_y': dilations is \\[0, 1\\]"),
    "dilation_count": (lambda: conv(dilations=[1]), "dilations has 1 entries, not 2"),
    "zero_stride": (lambda: conv(strides=[0, 1]), "strides is"),
    "negative_pads": (lambda: conv(pads=[-1, 0, 0, 0]), "pads is"),
    "pad_count": (lambda: conv(pads=[1, 1]), "pads has 2 entries, not 4"),
    "kernel_shape": (lambda: conv(kernel_shape=[5, 5]), "kernel_shape .5, 5., but weights"),
    "group_zero": (lambda: conv(group=0), "group is 0"),
    "group_count": (lambda: conv(group=3), "4 output channels in 3 groups"),
    "channels": (lambda: conv(shape=(1, 5, 8, 8)), "Conv"),
    "pool_kernel_zero": (lambda: pool(kernel_shape=[0, 2]), "kernel_shape is"),
    "pool_pads": (
        lambda: pool(kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        "reach over a kernel",
    ),
    "pool_strides": (lambda: pool("AveragePool", kernel_shape=[2, 2], strides=[0, 0]), "strides"),
    "scale_nan": (lambda: qdq(NAN), "scale nan is not a positive|holds NaN"),
    "scale_infinite": (lambda: qdq(INFINITY), "scale inf|holds NaN or infinity"),
    "scale_negative": (lambda: qdq(-0.1), "is not a positive normal number"),
    "scale_zero": (lambda: qdq(0.0), "scale 0.0 is not"),
    "scale_denormal": (lambda: qdq(1e-40), "is not a positive normal number"),
    "scale_count": (
        lambda: qdq([0.1, 0.2], np.zeros(2, np.int8), axis=1),
        "2 scales along axis 1",
    ),
    "zero_point_count": (
        lambda: qdq([0.1, 0.2, 0.3], np.zeros(2, np.int8), axis=1),
        "3 scales, but 2 zero points",
    ),
    "scale_axis": (
        lambda: qdq([0.1, 0.2, 0.3], np.zeros(3, np.int8), axis=9),
        "along axis 9",
    ),
    "nan_weights": (
        lambda: one("Add", {"w": np.array([NAN], np.float32)}),
        "holds NaN or infinity",
    ),
    "clip_bounds": (
        lambda: one("Clip", {"low": np.float32(3), "high": np.float32(1)}),
        "min 3.0 is over max 1.0",
    ),
    "gather_index": (
        lambda: one("Gather", {"i": np.array([99])}, axis=1),
        r"indices \[99, 99\] into 3 elements",
    ),
    "gather_axis": (lambda: one("Gather", {"i": np.array([0])}, axis=7), "axis 7"),
    "variance": (lambda: batch_norm_of(-1.0), "a variance is negative"),
    "zero_dimension": (lambda: conv(shape=(1, 3, 0, 16)), "dimension below 1"),
    "negative_dimension": (lambda: conv(shape=(1, 3, -4, 16)), "dimension below 1"),
    "too_large": (lambda: conv(shape=(1, 3, 1 << 20, 1 << 20)), "over 2\\^31 - 1"),
    "opset_9999": (lambda: opset(9999), "operator set 9999 is outside"),
    "opset_0": (lambda: opset(0), "operator set 0 is outside"),
    "unknown_opset_domain": (lambda: opset(17, "com.example"), "no operator set of ONNX"),
    "unknown_operator": (lambda: with_nodes(node("Frobnicate", "x")), "Frobnicate"),
    "no_nodes": (no_nodes, "no node"),
    "input_twice": (same_input_twice, "x"),
    "written_twice": (
        lambda: with_nodes(node("Relu", "x"), node("Sigmoid", "x")),
        "y",
    ),
    "read_before_write": (
        lambda: with_nodes(node("Relu", "q"), node("Relu", "x", output="q")),
        "onnx.checker",
    ),
    "short_constant": (short_constant, "w|onnx.checker"),
    "negative_constant_dimension": (negative_constant_dimension, "onnx.checker|w"),
    "outside_weights": (outside_weights, "onnx.checker|passwd"),
    "concat_axis": (
        lambda: with_nodes(node("Concat", "x", "x", axis=9)),
        "(?i)concat",
    ),
}
UNSUPPORTED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "symbolic_height": (lambda: conv(shape=("N", 3, "H", 16)), "dimension 2 is symbolic .H"),
    "unknown_height": (lambda: conv(shape=("N", 3, None, 16)), "symbolic .unknown"),
    "foreign_domain": (
        lambda: with_nodes(node("Relu", "x", domain="com.microsoft")),
        "unknown operator of domain 'com.microsoft'",
    ),
    "conv_integer": (
        lambda: model(
            [
                node("ConvInteger", "x", "w", output="c"),
                node("Cast", "c", to=TensorProto.FLOAT),
            ],
            {"w": np.ones((4, 3, 3, 3), np.int8)},
            dtype=TensorProto.UINT8,
        ),
        "ConvInteger.*quantise statically",
    ),
    "data_dependent": (
        lambda: model([node("NonZero", "x", output="n"), node("Cast", "n", to=1)], {}),
        "not static",
    ),
    "control_flow": (
        lambda: with_nodes(node("If", "x", then_branch=branch(), else_branch=branch())),
        "export without If, Loop and Scan",
    ),
}


def branch() -> onnx.GraphProto:
    result = helper.make_tensor_value_info("b", TensorProto.FLOAT, IMAGE)
    return helper.make_graph([node("Relu", "x", output="b")], "branch", [], [result])


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_are_refused(name: str) -> None:
    make, message = BROKEN[name]
    with pytest.raises(ModelError, match=message) as caught:
        load(make())
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_sound_but_unsupported_models_say_so(name: str) -> None:
    make, message = UNSUPPORTED[name]
    with pytest.raises(UnsupportedError, match=message):
        load(make())


def test_all_problems_are_listed_at_once() -> None:
    chain = [
        node("Conv", "x", "w", output="c", dilations=[0, 0]),
        node("MaxPool", "c", kernel_shape=[0, 0]),
    ]
    with pytest.raises(ModelError) as caught:
        load(model(chain, {"w": random(4, 3, 3, 3)}))
    assert len(caught.value.problems) == 2


def test_every_operator_that_fails_in_tvm_is_listed() -> None:
    chain = [node("Det", "x", output="a"), node("Bernoulli", "x", output="b")]
    given = model([*chain, node("Add", "b", "b")], {}, (1, 2, 2, 2), opset=18)
    with pytest.raises(UnsupportedError) as caught:
        load(given)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["Det 'Det_a'", "Bernoulli 'Bernoulli_b'"]


def test_weights_in_other_files_are_read_from_the_models_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(conv(), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    load(path)


def test_mutants_never_crash() -> None:
    data = net(1).SerializeToString()
    for seed in range(200):
        generator = randomness.Random(seed)
        changed = bytearray(data)
        for _ in range(generator.choice((1, 2, 4))):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        try:
            load(bytes(changed))
        except TinyError as error:
            assert str(error)
