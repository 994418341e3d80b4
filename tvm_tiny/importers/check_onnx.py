"""What onnx.checker, ONNX Runtime or TVM accept although it means nothing: checked first.

`check_model` looks at the file as it is; `check_graph` at the inferred graph. Each is a table of
functions from the model or graph to its problems.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx

from tvm_tiny.errors import Problem
from tvm_tiny.importers.onnx_graph import DEFAULT_DOMAINS, Array, OnnxGraph, attributes, label
from tvm_tiny.importers.onnx_qdq import CONCAT, MICROSOFT, QOPERATORS
from tvm_tiny.importers.problems import foreign_errors, raise_problems

OLDEST_OPSET = 7
MAX_NODES = 16384
MAX_ELEMENTS = 2**31 - 1
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
ELEMENT_TYPES = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "INT8", "UINT8", "INT32", "INT64", "BOOL", "FLOAT16")
)
INTEGER_OPERATORS = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QAttention")
DYNAMIC_HINT = "quantise statically, in QDQ form"
Problems = Iterator[Problem]
Whats = Iterator[str]


def check_model(model: onnx.ModelProto) -> None:
    """Raise one error that lists everything wrong with a model as it was given."""
    raise_problems("the ONNX model", list(opsets(OnnxGraph(model))))
    with foreign_errors("the ONNX model", "onnx.checker"):
        onnx.checker.check_model(model)
        # reading the constants also checks that their bytes match their shapes
        graph = OnnxGraph.read(model)
    for broken_checks, unsupported_checks in MODEL_STAGES:
        broken = [problem for check in broken_checks for problem in check(graph)]
        unsupported = [problem for check in unsupported_checks for problem in check(graph)]
        raise_problems("the ONNX model", broken, unsupported)


def check_graph(graph: OnnxGraph) -> None:
    """Raise one error that lists everything wrong with a graph whose shapes are inferred."""
    broken = [problem for check in GRAPH_CHECKS for problem in check(graph)]
    raise_problems("the ONNX model", broken, list(static_shapes(graph)))


# --- the model --------------------------------------------------------------------------------


def not_empty(graph: OnnxGraph) -> Problems:
    """Find models without nodes, inputs or outputs."""
    for what, found in (
        ("node", graph.nodes),
        ("input", graph.inputs),
        ("output", graph.output_names),
    ):
        if not found:
            yield Problem("model", f"it has no {what}")


def opsets(graph: OnnxGraph) -> Problems:
    """Find operator sets that do not exist."""
    versions = [o.version for o in graph.model.opset_import if o.domain in DEFAULT_DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        yield Problem("model", "it imports no operator set of ONNX")
    for version in versions:
        if not OLDEST_OPSET <= version <= newest:
            what = f"operator set {version} is outside [{OLDEST_OPSET}, {newest}]"
            yield Problem("model", what, "export with operator set 13 to 21")


def unique_names(graph: OnnxGraph) -> Problems:
    """Find tensors that two nodes write, or that a node and a constant give."""
    written = Counter(name for node in graph.nodes for name in node.output if name)
    written.update(graph.constants.keys())
    written.update(info.name for info in graph.inputs)
    for name, count in written.items():
        if count > 1:
            yield Problem(f"tensor '{name}'", f"it is defined {count} times")
    for what, names in (("output", graph.output_names), ("input", _input_names(graph))):
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(f"{what} '{name}'", f"it is listed {count} times")


def _input_names(graph: OnnxGraph) -> list[str]:
    return [info.name for info in graph.inputs]


def constants(graph: OnnxGraph) -> Problems:
    """Find weights that are not numbers, or have dimensions of 0."""
    may_be_infinite = {
        name for node in graph.nodes if node.op_type == "Clip" for name in node.input
    }
    for name, value in graph.constants.items():
        is_float = value.dtype.kind == "f"
        bad = np.isnan(value) if name in may_be_infinite and is_float else None
        if is_float and bad is None:
            bad = ~np.isfinite(value)
        if bad is not None and bad.any():
            yield Problem(f"constant '{name}'", "it holds NaN or infinity")
        if value.size > MAX_ELEMENTS:
            yield Problem(f"constant '{name}'", "over 2^31 - 1 elements")


def inputs(graph: OnnxGraph) -> Problems:
    """Find inputs with dimensions below 1 or element types that have no kernel."""
    for info in graph.inputs:
        tensor = info.type.tensor_type
        given = [extent.dim_value for extent in tensor.shape.dim if extent.HasField("dim_value")]
        if any(extent < 1 for extent in given):
            yield Problem(f"input '{info.name}'", f"shape {given} has a dimension below 1")
        if math.prod(given) > MAX_ELEMENTS:
            yield Problem(f"input '{info.name}'", "over 2^31 - 1 elements")
        if tensor.elem_type not in ELEMENT_TYPES:
            yield Problem(f"input '{info.name}'", f"element type {tensor.elem_type}")


def too_large(graph: OnnxGraph) -> Problems:
    """Find graphs with more nodes than any microcontroller runs."""
    if len(graph.nodes) > MAX_NODES:
        yield Problem("model", f"{len(graph.nodes)} nodes, limit {MAX_NODES}")


def node_kinds(graph: OnnxGraph) -> Problems:
    """Find control flow, foreign domains and operators that quantise at run time."""
    local = {(f.domain, f.name) for f in graph.model.functions}
    for node in graph.nodes:
        is_known = node.op_type in QOPERATORS or node.op_type == CONCAT
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            yield Problem(label(node), "control flow", "export without If, Loop and Scan")
        elif node.op_type in INTEGER_OPERATORS:
            yield Problem(label(node), "the operator is not supported", DYNAMIC_HINT)
        elif (node.domain, node.op_type) in local or node.domain in DEFAULT_DOMAINS:
            continue
        elif node.domain != MICROSOFT or not is_known:
            yield Problem(label(node), f"unknown operator of domain '{node.domain}'")


# --- nodes ------------------------------------------------------------------------------------


def node_attributes(graph: OnnxGraph) -> Problems:
    """Run the table of checks per operator."""
    for node in graph.nodes:
        check = NODE_CHECKS.get(node.op_type)
        if check is not None:
            yield from (Problem(label(node), what) for what in check(graph, node))


def _conv(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    place = 3 if node.op_type == "QLinearConv" else 1
    weights = graph.shape(node.input[place]) or _source_shape(graph, node.input[place])
    values = attributes(node)
    group = values.get("group", 1)
    if group < 1:
        yield f"group is {group}"
    if weights is None:
        yield from _window(values, None)
        return
    kernel = tuple(values.get("kernel_shape", weights[2:]))
    if kernel != weights[2:]:
        yield f"kernel_shape {list(kernel)}, but weights {list(weights)}"
    if group > 0 and weights[0] % group:
        yield f"{weights[0]} output channels in {group} groups"
    yield from _window(values, len(weights) - 2)


def _source_shape(graph: OnnxGraph, name: str) -> tuple[int, ...] | None:
    """Return the shape of the constant under a DequantizeLinear."""
    source = graph.producers().get(name)
    is_dequantize = source is not None and source.op_type == "DequantizeLinear"
    return graph.shape(source.input[0]) if source is not None and is_dequantize else None


def _pool(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    values = attributes(node)
    kernel = values.get("kernel_shape", [])
    if not kernel or min(kernel) < 1:
        yield f"kernel_shape is {list(kernel)}"
        return
    pads = values.get("pads", [])
    if len(pads) == 2 * len(kernel) and any(
        pad >= extent for pad, extent in zip(pads, [*kernel, *kernel], strict=True)
    ):
        yield f"pads {list(pads)} reach over a kernel of {list(kernel)}"
    yield from _window(values, len(kernel))


def _window(values: dict[str, Any], rank: int | None) -> Whats:
    for name, count, lowest in (("strides", 1, 1), ("dilations", 1, 1), ("pads", 2, 0)):
        given = values.get(name)
        if given is None:
            continue
        if rank is not None and len(given) != count * rank:
            yield f"{name} has {len(given)} entries, not {count * rank}"
        if any(value < lowest for value in given):
            yield f"{name} is {list(given)}"


def _linear(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    """Check the scale and the zero point of QuantizeLinear and DequantizeLinear."""
    yield from _scale(graph, node, 1, 2, attributes(node).get("axis", 1))


def _scale(graph: OnnxGraph, node: onnx.NodeProto, at: int, zero_at: int, axis: int) -> Whats:
    scale = graph.constants.get(node.input[at])
    zero_name = node.input[zero_at] if len(node.input) > zero_at else ""
    if scale is None or (zero_name and zero_name not in graph.constants):
        yield f"scale '{node.input[at]}' or its zero point is not a constant"
        return
    yield from _scale_values(scale)
    zero_point = graph.constants.get(zero_name)
    if zero_point is None:
        return
    if zero_point.size != scale.size:
        yield f"{scale.size} scales, but {zero_point.size} zero points"
    shape = graph.shape(node.input[0])
    if scale.size > 1 and shape is not None:
        if not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
            yield f"{scale.size} scales along axis {axis} of shape {list(shape)}"
    data = graph.constants.get(node.input[0])
    if node.op_type == "DequantizeLinear" and data is not None and data.dtype != zero_point.dtype:
        yield f"zero point of type {zero_point.dtype} for data of type {data.dtype}"


def _scale_values(scale: Array) -> Whats:
    bad = scale[~((scale >= SMALLEST_SCALE) & np.isfinite(scale))]
    if bad.size:
        yield f"scale {bad.flat[0]} is not a positive normal number"


def _qoperator(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    layout = QOPERATORS[node.op_type]
    places = [triple[1] for triple in layout.operands] + [layout.result[0]]
    for place in places:
        scale = graph.constants.get(node.input[place]) if place < len(node.input) else None
        if scale is not None:
            yield from _scale_values(scale)
    if node.op_type == "QLinearConv":
        yield from _conv(graph, node)


def _clip(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    low, high = (
        graph.constants.get(node.input[place]) if len(node.input) > place else None
        for place in (1, 2)
    )
    if low is not None and high is not None and low.item() > high.item():
        yield f"min {low.item()} is over max {high.item()}"


def _gather(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    shape, indices = graph.shape(node.input[0]), graph.constants.get(node.input[1])
    axis = attributes(node).get("axis", 0)
    if shape is None:
        return
    if not -len(shape) <= axis < len(shape):
        yield f"axis {axis} of a tensor of rank {len(shape)}"
    elif indices is not None and indices.size:
        if indices.min() < -shape[axis] or indices.max() >= shape[axis]:
            yield f"indices [{indices.min()}, {indices.max()}] into {shape[axis]} elements"


def _split(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    shape = graph.shape(node.input[0])
    values = attributes(node)
    given = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    sizes = values.get("split", given)
    if sizes is None or shape is None:
        return
    extent = shape[values.get("axis", 0)]
    if sum(sizes) != extent or min(sizes) < 1 or len(sizes) != len(node.output):
        yield f"split {list(map(int, sizes))} of {extent} elements into {len(node.output)}"


def _batch_norm(graph: OnnxGraph, node: onnx.NodeProto) -> Whats:
    variance = graph.constants.get(node.input[4])
    if variance is not None and (variance < 0).any():
        yield "a variance is negative"
    if attributes(node).get("training_mode"):
        yield "training_mode is set"


NodeCheck = Callable[[OnnxGraph, onnx.NodeProto], Whats]
NODE_CHECKS: dict[str, NodeCheck] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": lambda graph, node: _window(attributes(node), None),
    "DequantizeLinear": _linear,
    "Gather": _gather,
    "MaxPool": _pool,
    "QLinearAveragePool": _pool,
    "QuantizeLinear": _linear,
    "Split": _split,
    **dict.fromkeys(QOPERATORS, _qoperator),
}


# --- the inferred graph -----------------------------------------------------------------------


def positive_shapes(graph: OnnxGraph) -> Problems:
    """Find tensors with dimensions of 0, and those too large to index."""
    for name, shape in {**graph.shapes, **_constant_shapes(graph)}.items():
        if any(extent < 1 for extent in shape):
            yield Problem(f"tensor '{name}'", f"shape {list(shape)} has a dimension below 1")
        elif math.prod(shape) > MAX_ELEMENTS:
            yield Problem(f"tensor '{name}'", f"shape {list(shape)} is over 2^31 - 1 elements")


def _constant_shapes(graph: OnnxGraph) -> dict[str, Sequence[int]]:
    """Return constants' shapes, less empty lists that stand for absent inputs."""
    empty_is_absent = {
        name
        for node in graph.nodes
        if node.op_type in ("Resize", "Reshape", "Squeeze", "Unsqueeze")
        for name in node.input[1:]
    }
    return {
        name: value.shape for name, value in graph.constants.items() if name not in empty_is_absent
    }


def static_shapes(graph: OnnxGraph) -> Problems:
    """Find results whose shape depends on the data."""
    for node in graph.nodes:
        for name in filter(None, node.output):
            if graph.shape(name) is None:
                hint = "export with static shapes and constant Reshape and Resize targets"
                yield Problem(label(node), f"the shape of '{name}' is not static", hint)


GraphCheck = Callable[[OnnxGraph], Problems]
MODEL_STAGES: tuple[tuple[tuple[GraphCheck, ...], tuple[GraphCheck, ...]], ...] = (
    ((not_empty, unique_names, constants, inputs), (too_large, node_kinds)),
    ((node_attributes,), ()),
)
GRAPH_CHECKS: tuple[GraphCheck, ...] = (positive_shapes, node_attributes)
