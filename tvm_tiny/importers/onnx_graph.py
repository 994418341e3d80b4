"""An ONNX graph that rewrites can work on: nodes in order, constants as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
DEFAULT_DOMAINS = ("", "ai.onnx")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def label(node: onnx.NodeProto) -> str:
    """Return where errors about a node are: its name, or else its first output."""
    name = node.name or (node.output[0] if node.output else "?")
    return f"{node.op_type} '{name}'"


def _numbers(value: Any) -> Array:
    """Return a Constant's plain numbers in ONNX's own types."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


@dataclass
class OnnxGraph:
    """A model's main graph. `shapes` holds inferred static shapes, `dtypes` ONNX type numbers."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, model: onnx.ModelProto) -> OnnxGraph:
        """Take a model apart; Constant nodes become constants."""
        graph = cls(model)
        for tensor in model.graph.initializer:
            graph.constants[tensor.name] = numpy_helper.to_array(tensor)
        for node in model.graph.node:
            values = attributes(node)
            if node.op_type == "Constant" and len(values) == 1:
                (value,) = values.values()
                is_tensor = isinstance(value, onnx.TensorProto)
                array = numpy_helper.to_array(value) if is_tensor else _numbers(value)
                graph.constants[node.output[0]] = array
            else:
                graph.nodes.append(node)
        infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
        for info in infos:
            graph._read_type(info)
        return graph

    def _read_type(self, info: onnx.ValueInfoProto) -> None:
        tensor = info.type.tensor_type
        self.dtypes[info.name] = tensor.elem_type
        extents = tensor.shape.dim if tensor.HasField("shape") else []
        if tensor.HasField("shape") and all(extent.HasField("dim_value") for extent in extents):
            self.shapes[info.name] = tuple(extent.dim_value for extent in extents)

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that a caller gives: old models list their weights as inputs too."""
        return [info for info in self.model.graph.input if info.name not in self.constants]

    @property
    def output_names(self) -> list[str]:
        """The names of the graph's outputs."""
        return [info.name for info in self.model.graph.output]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a static shape, or None where it is not known."""
        return self.constants[name].shape if name in self.constants else self.shapes.get(name)

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Return the node that writes each tensor."""
        return {name: node for node in self.nodes for name in node.output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Return the nodes that read each tensor."""
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in filter(None, node.input):
                readers.setdefault(name, []).append(node)
        return readers

    def add_constant(self, name: str, value: Array) -> str:
        """Add a constant under a name that is not taken yet, and return that name."""
        taken = self.constants.keys() | self.dtypes.keys() | self.producers().keys()
        unique, number = name, 0
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        self.constants[unique] = value
        return unique

    def write(self) -> onnx.ModelProto:
        """Put the model together again, without constants that nothing reads."""
        used = {name for node in self.nodes for name in node.input} | set(self.output_names)
        graph = helper.make_graph(
            self.nodes,
            self.model.graph.name or "main",
            self.inputs,
            list(self.model.graph.output),
            [
                numpy_helper.from_array(value, name)
                for name, value in self.constants.items()
                if name in used
            ],
        )
        opsets = [o for o in self.model.opset_import if o.domain in DEFAULT_DOMAINS]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)


def make_node(
    operator: str, inputs: Sequence[str], output: str, extra: Mapping[str, Any] | None = None
) -> onnx.NodeProto:
    """Return a node of the default domain, named after its only output."""
    return helper.make_node(operator, list(inputs), [output], name=output, **(extra or {}))
