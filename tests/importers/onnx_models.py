"""Small ONNX models for the tests: one net with most operators, and graphs of one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
IMAGE = (1, 3, 16, 16)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    shape: Sequence[int | str | None] = IMAGE,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    output_rank: int | None = None,
) -> onnx.ModelProto:
    """Return a model from input `x` to output `y`."""
    rank = len(shape) if output_rank is None else output_rank
    axes = [f"d{axis}" for axis in range(rank)]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Return a node named after its operator and output."""
    return helper.make_node(
        operator, list(inputs), [output], name=f"{operator}_{output}", **attributes
    )


def random(*shape: int) -> Array:
    """Return float32 weights, the same for the same shape."""
    generator = np.random.default_rng(sum(shape))
    return (generator.standard_normal(shape) * 0.3).astype(np.float32)


def net(batch: int | str = "N") -> onnx.ModelProto:
    """Return a float net with convolutions, pools, a residual and a classifier."""
    chain = [
        node("Conv", "x", "w1", "b1", output="c1", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c1", output="r1"),
        node("Conv", "r1", "w2", "b2", output="c2", pads=[1, 1, 1, 1], group=8),
        node("Clip", "c2", "zero", "six", output="r2"),
        node("Conv", "r2", "w3", "b3", output="c3"),
        node("Add", "c3", "r1", output="a1"),
        node("MaxPool", "a1", output="m1", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "m1", output="p1", kernel_shape=[2, 2]),
        node("Sigmoid", "p1", output="s1"),
        node("Mul", "s1", "p1", output="g"),
        node("Concat", "g", "p1", output="cc", axis=1),
        node("GlobalAveragePool", "cc", output="ga"),
        node("Flatten", "ga", output="f1"),
        node("Gemm", "f1", "w4", "b4", output="d1", transB=1),
        node("Softmax", "d1", axis=-1),
    ]
    constants = {
        "w1": random(8, 3, 3, 3),
        "b1": random(8),
        "w2": random(8, 1, 3, 3),
        "b2": random(8),
        "w3": random(8, 8, 1, 1),
        "b3": random(8),
        "w4": random(5, 16),
        "b4": random(5),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    return model(chain, constants, (batch, *IMAGE[1:]), output_rank=2)


def images(count: int) -> Iterator[Array]:
    """Yield random inputs."""
    generator = np.random.default_rng(7)
    for _ in range(count):
        yield generator.standard_normal(IMAGE).astype(np.float32)


def quantised(folder: Path, form: str, activations: str, per_channel: bool) -> onnx.ModelProto:
    """Return the net quantised by ONNX Runtime; `form` is QDQ or QOperator."""
    from onnxruntime import quantization as tools

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self.samples = iter([{"x": image} for image in images(4)])

        def get_next(self) -> Any:
            return next(self.samples, None)

    source, target = folder / "float.onnx", folder / "quantised.onnx"
    onnx.save(net(1), source)
    tools.quantize_static(
        source,
        target,
        Reader(),
        quant_format=getattr(tools.QuantFormat, form),
        per_channel=per_channel,
        activation_type=getattr(tools.QuantType, activations),
        weight_type=tools.QuantType.QInt8,
    )
    return onnx.load(target)


def run_onnxruntime(given: onnx.ModelProto, *inputs: Array) -> list[Array]:
    """Return ONNX Runtime's outputs, without its fusions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(given.SerializeToString(), options)
    names = [argument.name for argument in session.get_inputs()]
    results: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return results
