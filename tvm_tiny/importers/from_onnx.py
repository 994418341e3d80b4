"""ONNX models to Relax: QDQ and QOperator form, or float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import tvm
from onnx.external_data_helper import load_external_data_for_model
from tvm import ir, relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from tvm_tiny.errors import Problem
from tvm_tiny.importers.canonical import Signature, canonicalise
from tvm_tiny.importers.check_onnx import check_graph, check_model
from tvm_tiny.importers.forms import clip, hard_swish
from tvm_tiny.importers.onnx_graph import OnnxGraph, attributes, label
from tvm_tiny.importers.onnx_prepare import (
    fix_batch,
    fold_batch_norms,
    fold_constants,
    infer,
    inline_functions,
    upgrade,
)
from tvm_tiny.importers.onnx_qdq import rewrite_qoperators, to_int8
from tvm_tiny.importers.problems import UNSUPPORTED, foreign_errors, raise_problems, reason_of

WHAT = "the ONNX model"


def parse_onnx(data: bytes, folder: Path | None = None) -> onnx.ModelProto:
    """Parse a file's bytes; weights in other files are read from `folder` only."""
    with foreign_errors(WHAT, "file"):
        model = onnx.load_model_from_string(data)
        if folder is not None:
            load_external_data_for_model(model, str(folder))
        return model


def from_onnx(model: onnx.ModelProto) -> tvm.IRModule:
    """Import a parsed model; the caller's object is left as it is."""
    check_model(model)
    with foreign_errors(WHAT, "model"):
        prepared = onnx.ModelProto()
        prepared.CopyFrom(inline_functions(model))
        graph = prepare(prepared)
        return _convert(graph)


def prepare(model: onnx.ModelProto) -> OnnxGraph:
    """Bring a model into the form that the conversion below reads."""
    fix_batch(model)
    graph = OnnxGraph.read(model)
    rewrite_qoperators(graph)
    graph = infer(upgrade(graph.write()))
    check_graph(graph)
    fold_constants(graph)
    fold_batch_norms(graph)
    to_int8(graph)
    return graph


def _convert(graph: OnnxGraph) -> tvm.IRModule:
    importer = TinyGraphImporter(graph)
    opset = graph.model.opset_import[0].version
    module = importer.from_onnx(graph.write().graph, opset)
    raise_problems(WHAT, importer.broken, importer.unsupported)
    signature = Signature(
        source="onnx",
        input_names=[info.name for info in graph.inputs],
        output_names=graph.output_names,
    )
    return canonicalise(module, importer.names, signature)


class TinyGraphImporter(ONNXGraphImporter):
    """TVM's importer, emitting each result under its name and noting every failure."""

    def __init__(self, graph: OnnxGraph) -> None:
        """Prepare to convert `graph`."""
        super().__init__({}, None, sanitize=False)
        self.graph = graph
        self.pending = iter(graph.nodes)
        self.names: dict[relax.Var, str] = {}
        self.broken: list[Problem] = []
        self.unsupported: list[Problem] = []

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Leave it to the conversion, which names the nodes."""

    def _convert_operator(
        self, op_name: str, inputs: Sequence[Any], attrs: Mapping[str, Any], opset: int
    ) -> relax.Expr:
        """Convert the next node; a failed one is noted and replaced by free variables."""
        node = next(self.pending)
        try:
            return self._emit(node, self._value(node, inputs, attrs, opset))
        except UNSUPPORTED as error:
            self.unsupported.append(Problem(label(node), reason_of(error)))
        except Exception as error:
            self.broken.append(Problem(label(node), reason_of(error)))
        placeholders = [self._placeholder(name) for name in node.output]
        return placeholders[0] if len(placeholders) == 1 else relax.Tuple(placeholders)

    def _value(
        self, node: onnx.NodeProto, inputs: Sequence[Any], attrs: Mapping[str, Any], opset: int
    ) -> relax.Expr:
        convert = CONVERTERS.get(node.op_type)
        if convert is None:
            return super()._convert_operator(node.op_type, inputs, attrs, opset)
        return convert(node, list(inputs))

    def _emit(self, node: onnx.NodeProto, value: relax.Expr) -> relax.Expr:
        if isinstance(value, relax.ShapeExpr | ir.GenericConst | relax.Tuple):
            return value
        var = self.bb.emit(value)
        if isinstance(var.ty, relax.TupleType):
            items = [self.bb.emit(var[i]) for i in range(len(node.output))]
            self.names.update(zip(items, node.output, strict=True))
            return items[0] if len(items) == 1 else relax.Tuple(items)
        self.names[var] = node.output[0]
        return var

    def _placeholder(self, name: str) -> relax.Var:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.graph.dtypes[name])
        return relax.Var(name, relax.TensorType(self.graph.shapes[name], str(dtype)))


def _scalar(value: Any, default: float) -> float:
    if value is None:
        return default
    if not isinstance(value, ir.GenericConst):
        raise NotImplementedError("bounds that are not constants")
    return float(value.value.numpy().item())


def _clip(node: onnx.NodeProto, inputs: list[Any]) -> relax.Expr:
    low, high, *_ = [*inputs[1:], None, None]
    lowest, highest = _scalar(low, float("-inf")), _scalar(high, float("inf"))
    return clip(inputs[0], lowest, highest)


def _hard_swish(node: onnx.NodeProto, inputs: list[Any]) -> relax.Expr:
    return hard_swish(inputs[0])


def _pad(node: onnx.NodeProto, inputs: list[Any]) -> relax.Expr:
    """Constant padding as relax.nn.pad, which takes the pairs of each dimension in turn."""
    mode = attributes(node).get("mode", b"constant").decode()
    if mode not in ("constant", "reflect") or any(part is not None for part in inputs[3:]):
        raise NotImplementedError(f"padding mode {mode}, or with axes")
    if not isinstance(inputs[1], ir.GenericConst):
        raise NotImplementedError("padding that is not constant")
    widths = inputs[1].value.numpy().reshape(2, -1).T.reshape(-1)
    value = _scalar(inputs[2] if len(inputs) > 2 else None, 0.0)
    return relax.op.nn.pad(inputs[0], [int(width) for width in widths], mode, value)


# Forms of TVM's own importer that the passes could not match.
CONVERTERS: dict[str, Callable[[onnx.NodeProto, list[Any]], relax.Expr]] = {
    "Clip": _clip,
    "HardSwish": _hard_swish,
    "Pad": _pad,
}
