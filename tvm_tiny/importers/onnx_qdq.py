"""ONNX's fused integer operators (QLinearConv, QGemm, ...) rewritten as QDQ; uint8 as int8.

Both are exact: the QDQ form has the same constants, and `uint8 x, zero point z` stands for the
same number as `int8 x - 128, zero point z - 128`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tvm_tiny.errors import Problem
from tvm_tiny.importers.onnx_graph import Array, OnnxGraph, attributes, label, make_node
from tvm_tiny.importers.problems import raise_problems

AxisOf = Callable[[onnx.NodeProto], int]
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class QOperator:
    """How one fused operator maps: positions of its (value, scale, zero point) triples."""

    float_operator: str
    operands: tuple[tuple[int, int, int], ...]
    result: tuple[int, int]
    bias: int | None = None
    channel_axes: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ("channels_last",)


UNARY = ((0, 1, 2),)
BINARY = ((0, 1, 2), (3, 4, 5))
QOPERATORS: dict[str, QOperator] = {
    "QLinearConv": QOperator("Conv", BINARY, (6, 7), bias=8, channel_axes=(1, 0)),
    "QLinearMatMul": QOperator("MatMul", BINARY, (6, 7), channel_axes=(0, -1)),
    "QGemm": QOperator("Gemm", BINARY, (7, 8), bias=6, channel_axes=(0, 1)),
    "QLinearAdd": QOperator("Add", BINARY, (6, 7)),
    "QLinearMul": QOperator("Mul", BINARY, (6, 7)),
    "QLinearGlobalAveragePool": QOperator("GlobalAveragePool", UNARY, (3, 4)),
    "QLinearAveragePool": QOperator("AveragePool", UNARY, (3, 4)),
    "QLinearSigmoid": QOperator("Sigmoid", UNARY, (3, 4)),
    "QLinearLeakyRelu": QOperator("LeakyRelu", UNARY, (3, 4)),
    "QLinearSoftmax": QOperator("Softmax", UNARY, (3, 4), dropped=("opset",)),
}
CONCAT = "QLinearConcat"


def rewrite_qoperators(graph: OnnxGraph) -> None:
    """Replace every fused integer operator by DequantizeLinear, float, QuantizeLinear."""
    nodes: list[onnx.NodeProto] = []
    problems: list[Problem] = []
    for node in graph.nodes:
        if node.op_type not in QOPERATORS and node.op_type != CONCAT:
            nodes.append(node)
            continue
        if attributes(node).get("channels_last"):
            problems.append(Problem(label(node), "channels_last", "export with channels first"))
        elif reason := _missing(graph, node):
            problems.append(Problem(label(node), reason))
        else:
            nodes.extend(_Rewrite(graph, node).nodes())
    raise_problems("the ONNX model", unsupported=problems)
    graph.nodes = nodes


def _layout(node: onnx.NodeProto) -> QOperator:
    if node.op_type != CONCAT:
        return QOPERATORS[node.op_type]
    triples = tuple((i, i + 1, i + 2) for i in range(2, len(node.input) - 2, 3))
    return QOperator("Concat", triples, (0, 1))


def _missing(graph: OnnxGraph, node: onnx.NodeProto) -> str:
    """Say which scale or zero point is absent or not a constant."""
    layout = _layout(node)
    parts = [*layout.result, *(place for triple in layout.operands for place in triple[1:])]
    for place in parts:
        name = node.input[place] if place < len(node.input) else ""
        if name not in graph.constants:
            return f"input {place} (a scale or zero point) is not a constant"
    return ""


class _Rewrite:
    """The nodes that one fused operator becomes."""

    def __init__(self, graph: OnnxGraph, node: onnx.NodeProto) -> None:
        self.graph, self.node, self.layout = graph, node, _layout(node)
        self.name = node.output[0]
        self.attributes = {
            key: value for key, value in attributes(node).items() if key not in self.layout.dropped
        }

    def nodes(self) -> list[onnx.NodeProto]:
        """Return dequantize nodes, the float operator and a quantize node."""
        dequantized = [self._operand(i) for i in range(len(self.layout.operands))]
        bias = self._bias()
        if bias is not None:
            dequantized.append(bias)
        result = f"{self.name}_float"
        names = [node.output[0] for node in dequantized]
        scale, zero_point = (self.node.input[place] for place in self.layout.result)
        self.graph.dtypes.setdefault(result, onnx.TensorProto.FLOAT)
        return [
            *dequantized,
            make_node(self.layout.float_operator, names, result, self.attributes),
            make_node("QuantizeLinear", [result, scale, zero_point], self.name),
        ]

    def _operand(self, position: int) -> onnx.NodeProto:
        names = [self.node.input[place] for place in self.layout.operands[position]]
        extra = {}
        if self.graph.constants[names[1]].size > 1:
            extra["axis"] = self._channel_axis(position)
        return make_node("DequantizeLinear", names, f"{self.name}_operand{position}", extra)

    def _channel_axis(self, position: int) -> int:
        if self.node.op_type == "QGemm" and position == 1:
            return 0 if self.attributes.get("transB") else 1
        return self.layout.channel_axes[position]

    def _bias(self) -> onnx.NodeProto | None:
        """Dequantize the int32 bias; its scale is the product of the operands' scales."""
        place = self.layout.bias
        if place is None or place >= len(self.node.input) or not self.node.input[place]:
            return None
        scales = [
            self.graph.constants[self.node.input[triple[1]]] for triple in self.layout.operands
        ]
        scale = (scales[0] * scales[1] * self.attributes.get("alpha", 1.0)).astype(np.float32)
        scale = scale.reshape(()) if scale.size == 1 else scale
        constant = self.graph.add_constant(f"{self.name}_bias_scale", scale)
        zero = self.graph.add_constant(
            f"{self.name}_bias_zero_point", np.zeros(scale.shape, np.int32)
        )
        extra = {"axis": 0} if scale.size > 1 else {}
        names = [self.node.input[place], constant, zero]
        return make_node("DequantizeLinear", names, f"{self.name}_bias", extra)


# --- uint8 to int8 ----------------------------------------------------------------------------

MOVES = frozenset(
    """Concat Expand Flatten Gather Identity MaxPool Reshape Slice Split Squeeze Tile Transpose
    Unsqueeze""".split()
)
SHIFT = 128
UINT8 = onnx.TensorProto.UINT8
INT8 = onnx.TensorProto.INT8


def to_int8(graph: OnnxGraph) -> None:
    """Make uint8 tensors int8, unless the caller sees them or an unknown operator reads them."""
    seen = {info.name for info in graph.inputs} | set(graph.output_names)
    tensors = _uint8_tensors(graph)
    kept = {name for name in tensors if name in seen} | _foreign(graph, tensors)
    while grown := _neighbours(graph, kept, tensors):
        kept |= grown
    shifted = tensors - kept
    for name in shifted & graph.constants.keys():
        graph.constants[name] = _shift(graph.constants[name])
    for name in shifted:
        graph.dtypes[name] = INT8
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            place = 0 if node.op_type == "DequantizeLinear" else None
            value = node.input[0] if place == 0 else node.output[0]
            if value in shifted:
                _shift_zero_point(graph, node)


def _uint8_tensors(graph: OnnxGraph) -> set[str]:
    """Find tensors (not zero points) that hold quantised uint8 numbers."""
    found = set()
    for node in graph.nodes:
        zero_point = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        is_uint8 = zero_point is None or zero_point.dtype == np.uint8
        if node.op_type == "QuantizeLinear" and is_uint8:
            if attributes(node).get("output_dtype", UINT8) == UINT8:
                found.add(node.output[0])
        elif node.op_type == "DequantizeLinear":
            if zero_point is not None and is_uint8:
                found.add(node.input[0])
    while grown := _neighbours(graph, found, None):
        found |= grown
    return found


def _moved(graph: OnnxGraph, node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a move operator ties together: its data and its outputs."""
    data = node.input if node.op_type == "Concat" else node.input[:1]
    return {*data, *node.output}


def _neighbours(graph: OnnxGraph, tensors: set[str], within: set[str] | None) -> set[str]:
    grown: set[str] = set()
    for node in graph.nodes:
        if node.op_type in MOVES and (tied := _moved(graph, node)) & tensors:
            grown |= tied if within is None else tied & within
    return grown - tensors


def _foreign(graph: OnnxGraph, tensors: set[str]) -> set[str]:
    """Find tensors that operators other than moves, quantize and dequantize touch."""
    known = {*MOVES, "QuantizeLinear", "DequantizeLinear"}
    touched = {
        name
        for node in graph.nodes
        if node.op_type not in known
        for name in (*node.input, *node.output)
    }
    return touched & tensors


def _shift(values: Array) -> Array:
    return (values.astype(np.int16) - SHIFT).astype(np.int8)


def _shift_zero_point(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    given = len(node.input) > 2 and node.input[2]
    old = graph.constants[node.input[2]] if given else np.zeros((), np.uint8)
    name = graph.add_constant(f"{node.input[1]}_int8_zero_point", _shift(old))
    inputs: Sequence[str] = [*node.input[:2], name]
    del node.input[:]
    node.input.extend(inputs)
    for attribute in node.attribute:
        if attribute.name == "output_dtype":
            attribute.i = INT8
