"""Making an ONNX model static and plain: batch of 1, opset 13 or later, constants folded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import inliner, shape_inference, version_converter
from onnx.reference import ReferenceEvaluator

from tvm_tiny.errors import Problem
from tvm_tiny.importers.onnx_graph import (
    DEFAULT_DOMAINS,
    OnnxGraph,
    attributes,
    label,
    make_node,
)
from tvm_tiny.importers.problems import raise_problems

OLDEST_OPSET = 13
FOLDABLE = frozenset(
    """Add Cast Concat ConstantOfShape Div Equal Gather Identity Mul Range Reshape Shape Slice
    Squeeze Sub Transpose Unsqueeze Where""".split()
)
MAX_FOLDED = 1 << 20


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace calls of the model's own functions, as PyTorch exports them, by their bodies."""
    return inliner.inline_local_functions(model) if model.functions else model


def fix_batch(model: onnx.ModelProto) -> None:
    """Set a symbolic or unknown first dimension of every input and output to 1.

    Microcontrollers run one sample at a time. Any other symbolic dimension is refused.
    """
    problems = []
    constants = {tensor.name for tensor in model.graph.initializer}
    for info in model.graph.input:
        if info.name in constants:
            continue
        tensor = info.type.tensor_type
        if not tensor.HasField("shape"):
            problems.append(Problem(f"input '{info.name}'", "its rank is unknown"))
        for position, extent in enumerate(tensor.shape.dim):
            if extent.HasField("dim_value"):
                continue
            if position == 0:
                extent.dim_value = 1
                continue
            what = f"dimension {position} is symbolic ({extent.dim_param or 'unknown'})"
            hint = "export with static shapes; only the first dimension may be symbolic"
            problems.append(Problem(f"input '{info.name}'", what, hint))
    raise_problems("the ONNX model", unsupported=problems)
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert models older than opset 13 to it."""
    version = next(o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS)
    if version >= OLDEST_OPSET:
        return model
    return version_converter.convert_version(model, OLDEST_OPSET)


def infer(model: onnx.ModelProto) -> OnnxGraph:
    """Infer all shapes and types; what cannot be inferred is an error of the model."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return OnnxGraph.read(inferred)


def fold_constants(graph: OnnxGraph) -> None:
    """Evaluate the shape arithmetic that exporters leave around Reshape, Slice and Resize."""
    nodes = []
    for node in graph.nodes:
        if not _fold_shape(graph, node) and not _fold_node(graph, node):
            nodes.append(node)
    graph.nodes = nodes


def _fold_shape(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    shape = graph.shape(node.input[0]) if node.op_type == "Shape" else None
    if shape is None or node.output[0] in graph.output_names:
        return False
    values = attributes(node)
    part = shape[values.get("start", 0) : values.get("end", len(shape))]
    graph.constants[node.output[0]] = np.array(part, np.int64)
    return True


def _fold_node(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    is_constant = all(name in graph.constants for name in node.input if name)
    if node.op_type not in FOLDABLE or not node.input or not is_constant:
        return False
    size = np.prod(graph.shape(node.output[0]) or (1,), dtype=np.float64)
    if size > MAX_FOLDED or set(node.output) & set(graph.output_names):
        return False
    feeds = {name: graph.constants[name] for name in node.input if name}
    results = ReferenceEvaluator(node).run(None, feeds)
    graph.constants.update(zip(node.output, map(np.asarray, results), strict=True))
    return True


def fold_batch_norms(graph: OnnxGraph) -> None:
    """Fold batch norms into the float convolution before them, or make them multiply and add.

    After a convolution with quantised weights neither is exact, so that is refused.
    """
    producers, consumers = graph.producers(), graph.consumers()
    problems: list[Problem] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        source = producers.get(node.input[0])
        if any(name not in graph.constants for name in node.input[1:]):
            problems.append(Problem(label(node), "its parameters are not constants"))
        elif source is None or source.op_type != "Conv":
            nodes.extend(_multiply_add(graph, node))
        elif source.input[1] not in graph.constants:
            hint = "fold it before quantising: onnxruntime.quantization.quant_pre_process"
            problems.append(Problem(label(node), "a batch norm after a quantised Conv", hint))
        elif len(consumers[source.output[0]]) > 1:
            nodes.extend(_multiply_add(graph, node))
        else:
            nodes[nodes.index(source)] = _folded_conv(graph, source, node)
    raise_problems("the ONNX model", unsupported=problems)
    graph.nodes = nodes


def _factors(graph: OnnxGraph, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the offset per channel, computed in double precision."""
    gamma, beta, mean, variance = (
        graph.constants[name].astype(np.float64) for name in node.input[1:5]
    )
    factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return factor, beta - mean * factor


def _multiply_add(graph: OnnxGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    rank = len(graph.shapes[node.input[0]])
    shape = (-1, *(1,) * (rank - 2))
    factor, offset = (part.astype(np.float32).reshape(shape) for part in _factors(graph, node))
    out = node.output[0]
    names = [
        graph.add_constant(f"{out}_factor", factor),
        graph.add_constant(f"{out}_offset", offset),
    ]
    return [
        make_node("Mul", [node.input[0], names[0]], f"{out}_scaled"),
        make_node("Add", [f"{out}_scaled", names[1]], out),
    ]


def _folded_conv(graph: OnnxGraph, conv: onnx.NodeProto, norm: onnx.NodeProto) -> onnx.NodeProto:
    factor, offset = _factors(graph, norm)
    weights = graph.constants[conv.input[1]]
    bias = graph.constants[conv.input[2]] if len(conv.input) > 2 and conv.input[2] else 0.0
    out = norm.output[0]
    scaled = weights * factor.reshape(-1, *(1,) * (weights.ndim - 1))
    names = [
        conv.input[0],
        graph.add_constant(f"{out}_weights", scaled.astype(np.float32)),
        graph.add_constant(f"{out}_bias", (bias * factor + offset).astype(np.float32)),
    ]
    return make_node("Conv", names, out, attributes(conv))
