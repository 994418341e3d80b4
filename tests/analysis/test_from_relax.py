"""Relax modules to graphs: what is a layer, what is fused, what counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.relay_passes.modules import module, quantized, real, tensor
from tests.support.shared import REFERENCE_MODELS, shared_path
from tvm_tiny import zoo
from tvm_tiny.analysis import memory
from tvm_tiny.analysis.from_relax import graph_of
from tvm_tiny.analysis.graph import Graph, Window, Writes
from tvm_tiny.errors import ModelError
from tvm_tiny.importers import load
from tvm_tiny.pipeline import rewrite

NHWC = (1, 8, 8, 4)
NCHW = (1, 4, 8, 8)


def image(shape: tuple[int, ...] = NHWC, dtype: str = "float32") -> Any:
    return tensor("image", shape, dtype)


def constant(*shape: int) -> Any:
    return relax.const(np.zeros(shape, "float32"))


def conv2d(data: Any, channels: int = 8, kernel: int = 1, **options: Any) -> Any:
    """A convolution of 4 channels, NHWC."""
    weight = constant(kernel, kernel, 4, channels)
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    return relax.op.nn.conv2d(data, weight, **layouts, **options)


def graph(body: Any, *parameters: Any) -> Graph:
    return graph_of(module(parameters or [image()], body))


def operators(found: Graph) -> list[str]:
    return [layer.operator for layer in found.layers]


def names(found: Graph) -> list[str]:
    return [t.name for t in found.tensors]


def test_convolution() -> None:
    found = graph(lambda emit, x: conv2d(x, 8, 3, strides=2, padding=1))
    (layer,) = found.layers
    assert layer.macs == 4 * 4 * 3 * 3 * 4 * 8
    assert layer.weights == layer.parameters == 3 * 3 * 4 * 8
    assert layer.window == Window((3, 3), (2, 2), (1, 1, 1, 1))
    assert layer.writes is Writes.ANYHOW
    output = found.tensors[layer.output]
    assert (output.rows, output.columns, output.channels) == (4, 4, 8)


def test_dilation_widens_the_window() -> None:
    found = graph(lambda emit, x: conv2d(x, 8, 3, dilation=(2, 1), padding=(2, 1)))
    assert found.layers[0].window == Window((5, 3), (1, 1), (2, 1, 2, 1))


def test_nchw() -> None:
    def body(emit: Any, x: Any) -> Any:
        return relax.op.nn.conv2d(x, constant(6, 4, 3, 1), padding=(1, 0))

    found = graph(body, image((1, 4, 8, 10)))
    assert found.layers[0].macs == 8 * 10 * 3 * 4 * 6
    sizes = [(t.rows, t.columns, t.channels) for t in found.tensors]
    assert sizes == [(8, 10, 4), (8, 10, 6)]


@pytest.mark.parametrize(
    ("groups", "channels", "operator"),
    [(4, 4, "depthwise_conv2d"), (4, 8, "conv2d"), (2, 4, "conv2d")],
)
def test_groups(groups: int, channels: int, operator: str) -> None:
    """Only with a result for each channel can a convolution run channel by channel."""

    def body(emit: Any, x: Any) -> Any:
        weight = constant(channels, 4 // groups, 3, 3)
        return relax.op.nn.conv2d(x, weight, padding=1, groups=groups)

    (layer,) = graph(body, image(NCHW)).layers
    assert layer.operator == operator
    assert layer.macs == 64 * channels * 4 // groups * 9
    assert (layer.writes is Writes.BY_CHANNEL) == (operator == "depthwise_conv2d")


def test_bias_and_functions_are_fused() -> None:
    def body(emit: Any, x: Any) -> Any:
        biased = emit(relax.op.add(emit(conv2d(x)), constant(8)))
        return relax.op.clip(biased, 0, 6)

    found = graph(body)
    assert operators(found) == ["conv2d"]
    assert found.layers[0].parameters == 4 * 8 + 8
    assert found.layers[0].weights == 4 * 8


def test_batch_norms_count_scale_and_offset() -> None:
    def body(emit: Any, x: Any) -> Any:
        normed = emit(relax.op.nn.batch_norm(emit(conv2d(x)), *[constant(8)] * 4, axis=3))
        return relax.op.nn.relu(emit(relax.TupleGetItem(normed, 0)))

    found = graph(body)
    assert operators(found) == ["conv2d"]
    assert found.layers[0].parameters == 4 * 8 + 2 * 8
    assert found.tensors[1].channels == 8


def test_a_function_of_what_others_read_is_a_layer() -> None:
    def body(emit: Any, x: Any) -> Any:
        first = emit(conv2d(x))
        return relax.op.concat([emit(relax.op.nn.relu(first)), first], axis=3)

    found = graph(body)
    assert operators(found) == ["conv2d", "relu", "concat"]
    assert found.layers[1].writes is Writes.BY_ELEMENT
    assert found.layers[2].inputs == (2, 1)


def test_a_function_written_as_several_is_one() -> None:
    """x * sigmoid(x), x * clip(x + 3) / 6."""

    def body(emit: Any, x: Any) -> Any:
        first = emit(conv2d(x))
        gate = emit(relax.op.clip(emit(relax.op.add(first, relax.const(3.0))), 0, 6))
        product = emit(relax.op.multiply(first, gate))
        return relax.op.divide(product, relax.const(6.0))

    found = graph(body)
    assert operators(found) == ["conv2d", "add"]
    assert found.layers[1].inputs == (1,)
    assert found.layers[1].parameters == 0


def test_sums_of_two_tensors_are_layers() -> None:
    def body(emit: Any, x: Any) -> Any:
        return relax.op.nn.relu(emit(relax.op.add(emit(conv2d(x, 4)), x)))

    found = graph(body)
    assert operators(found) == ["conv2d", "add"]
    assert memory(found).peak_in_place_bytes == 64 * 8


def quantised(emit: Any, x: Any) -> Any:
    """A quantised convolution with bias and ReLU6, then a global mean."""
    weight = emit(real(np.ones((3, 3, 4, 8), np.int8), [0.1] * 8, axis=3))
    data = emit(real(x, 0.1))
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    summed = emit(relax.op.nn.conv2d(data, weight, padding=1, **layouts))
    biased = emit(relax.op.add(summed, emit(real(np.ones(8, np.int32), [0.01] * 8))))
    first = emit(quantized(emit(relax.op.clip(biased, 0, 6)), 0.1))
    mean = emit(relax.op.mean(emit(real(first, 0.1)), axis=[1, 2]))
    return quantized(mean, 0.1)


def test_quantised() -> None:
    """Scales and zero points are no parameters; nothing but int8 exists."""
    made = module([image(dtype="int8")], quantised)
    found = graph_of(made)
    assert operators(found) == ["conv2d", "mean"]
    assert found.layers[0].parameters == 3 * 3 * 4 * 8 + 8
    assert graph_of(made, element_bytes=None).tensors == found.tensors


def test_the_integer_dialect_says_the_same() -> None:
    made = module([image(dtype="int8")], quantised)
    before, after = graph_of(made), graph_of(rewrite(made))
    assert [t.nbytes for t in after.tensors] == [t.nbytes for t in before.tensors]
    assert [(y.macs, y.weights, y.window) for y in after.layers] == [
        (x.macs, x.weights, x.window) for x in before.layers
    ]


def test_types_count_if_asked_for() -> None:
    def body(emit: Any, x: Any) -> Any:
        return real(emit(quantised(emit, emit(quantized(x, 0.1)))), 0.1)

    made = module([image()], body)
    assert operators(graph_of(made)) == ["conv2d", "mean"]
    found = graph_of(made, element_bytes=None)
    assert operators(found) == ["quantize", "conv2d", "mean", "dequantize"]
    assert [t.nbytes for t in found.tensors] == [1024, 256, 512, 8, 32]


def test_borders_join_the_window() -> None:
    def body(emit: Any, x: Any) -> Any:
        bordered = emit(relax.op.nn.pad(x, [0, 0, 1, 2, 3, 4, 0, 0]))
        return conv2d(bordered, 8, 3, padding=1)

    found = graph(body)
    assert operators(found) == ["conv2d"]
    assert found.layers[0].window == Window((3, 3), (1, 1), (2, 4, 3, 5))


def test_borders_of_others_are_layers() -> None:
    def channels(emit: Any, x: Any) -> Any:
        bordered = emit(relax.op.nn.pad(x, [0, 0, 0, 0, 0, 0, 2, 2]))
        weight = constant(1, 1, 8, 8)
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        return relax.op.nn.conv2d(bordered, weight, **layouts)

    def function(emit: Any, x: Any) -> Any:
        return relax.op.nn.relu(emit(relax.op.nn.pad(x, [0, 0, 1, 1, 1, 1, 0, 0])))

    found = graph(channels)
    assert operators(found) == ["pad", "conv2d"]
    assert found.tensors[1].channels == 8
    assert graph(function).tensors[-1].nbytes == 4 * 10 * 10


def test_views_cost_nothing() -> None:
    def body(emit: Any, x: Any) -> Any:
        flat = emit(relax.op.reshape(x, (1, 256)))
        return relax.op.add(emit(relax.op.matmul(flat, constant(256, 10))), constant(10))

    found = graph(body)
    assert operators(found) == ["dense"]
    assert (found.layers[0].macs, found.layers[0].parameters) == (2560, 2570)


def test_pools() -> None:
    def body(emit: Any, x: Any) -> Any:
        return relax.op.nn.max_pool2d(x, (2, 2), strides=(2, 2), layout="NHWC")

    found = graph(body)
    assert found.layers[0].window == Window((2, 2), (2, 2))
    assert not found.layers[0].is_convolution


def test_transposed_convolution() -> None:
    def body(emit: Any, x: Any) -> Any:
        return relax.op.nn.conv2d_transpose(x, constant(4, 6, 4, 4), strides=2, padding=1)

    found = graph(body, image(NCHW))
    assert found.layers[0].macs == 8 * 8 * 4 * 4 * 4 * 6
    assert found.tensors[1].rows == 16


def test_several_results_of_an_operator() -> None:
    """They count as one tensor."""

    def body(emit: Any, x: Any) -> Any:
        halves = emit(relax.op.split(emit(conv2d(x)), 2, axis=3))
        left, right = (emit(relax.TupleGetItem(halves, index)) for index in range(2))
        return relax.op.multiply(left, right)

    found = graph(body)
    assert operators(found) == ["conv2d", "split", "multiply"]
    assert found.tensors[2].nbytes == 64 * 8


def test_several_outputs() -> None:
    builder = relax.BlockBuilder()
    x = image()
    with builder.function("main", [x]):
        with builder.dataflow():
            first = builder.emit_output(conv2d(x), "first")
            second = builder.emit_output(relax.op.nn.relu(first), "second")
        builder.emit_func_output(relax.Tuple([first, second]))
    found = graph_of(builder.finalize())
    assert [found.tensors[index].name for index in found.outputs] == ["first", "second"]


def test_names_are_those_of_results() -> None:
    builder = relax.BlockBuilder()
    x = image()
    with builder.function("main", [x]):
        with builder.dataflow():
            summed = builder.emit(conv2d(x), "summed")
            result = builder.emit_output(relax.op.nn.relu(summed), "result")
        builder.emit_func_output(result)
    assert names(graph_of(builder.finalize())) == ["image", "result"]


def test_weights_as_parameters() -> None:
    net = zoo.mobilenet_v2(0.35, 32)
    assert graph_of(zoo.float_module(net)) == net.graph()


@pytest.mark.parametrize("name", REFERENCE_MODELS.values())
def test_files_before_and_after_the_passes(name: str) -> None:
    """The passes may drop channels and turn functions into layers; memory stays."""
    made = load(str(shared_path("models", "mlperf_tiny", name)))
    before, after = memory(made), memory(rewrite(made))
    assert after.macs <= before.macs
    assert after.peak_in_place_bytes == before.peak_in_place_bytes


def test_no_main() -> None:
    with pytest.raises(ModelError, match="no Relax function main"):
        memory(tvm.IRModule({}))


def test_unknown_shapes() -> None:
    size = tvm.tirx.Var("n", "int64")
    x = relax.Var("image", relax.TensorType((1, size, 8, 4), "float32"))
    with pytest.raises(ModelError, match="image: a tensor of unknown shape"):
        memory(module([x], lambda emit, x: relax.op.nn.relu(x)))


def test_constant_outputs() -> None:
    made = module([image()], lambda emit, x: relax.op.add(constant(2), constant(2)))
    with pytest.raises(ModelError, match="an output is not computed from the inputs"):
        memory(made)
