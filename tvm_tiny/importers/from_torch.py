"""PyTorch exported programs to Relax: PT2E-quantised or float.

Import this module only where torch is needed: it is an optional package.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import tvm
from torch import fx
from torch.export.graph_signature import InputKind, OutputKind
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_tiny.errors import Problem
from tvm_tiny.importers.canonical import Signature, canonicalise
from tvm_tiny.importers.forms import batch_norm, hard_swish
from tvm_tiny.importers.problems import foreign_errors, raise_problems

WHAT = "the PyTorch model"
Converter = Callable[[fx.Node, ExportedProgramImporter], relax.Expr]


def parse_torch(data: bytes) -> torch.export.ExportedProgram:
    """Read the bytes of a file that torch.export.save wrote."""
    # registers the operators of quantised programs, without which they cannot be loaded
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    with foreign_errors(WHAT, "file"):
        return torch.export.load(io.BytesIO(data))


def from_torch(program: torch.export.ExportedProgram) -> tvm.IRModule:
    """Import an exported program; its parameters become constants."""
    raise_problems(WHAT, unsupported=[*_bad_inputs(program), *_bad_outputs(program)])
    with foreign_errors(WHAT, "model"):
        program = program.run_decompositions(_decompositions())
        raise_problems(WHAT, unsupported=_unknown_operators(program))
        return _convert(program)


def _decompositions() -> dict[Any, Any]:
    """Return torch's table to core ATen operators, less those with a simple Relax form here."""
    table = torch.export.default_decompositions()
    return {operator: rule for operator, rule in table.items() if str(operator) not in KEPT}


def _convert(program: torch.export.ExportedProgram) -> tvm.IRModule:
    importer = ExportedProgramImporter()
    module = importer.from_exported_program(
        program,
        keep_params_as_input=False,
        unwrap_unit_return_tuple=True,
        no_bind_return_tuple=False,
        custom_convert_map=CONVERTERS,
    )
    names = {
        value: node.name for node, value in importer.env.items() if isinstance(value, relax.Var)
    }
    signature = Signature(
        source="torch",
        input_names=list(program.graph_signature.user_inputs),
        output_names=[str(name) for name in program.graph_signature.user_outputs],
    )
    return canonicalise(module, names, signature)


# --- checks -----------------------------------------------------------------------------------


def _bad_inputs(program: torch.export.ExportedProgram) -> Iterator[Problem]:
    """Find inputs that are no tensors or have symbolic dimensions."""
    values = {n.name: n.meta.get("val") for n in program.graph.find_nodes(op="placeholder")}
    for spec in program.graph_signature.input_specs:
        value = values.get(spec.arg.name)
        if spec.kind != InputKind.USER_INPUT:
            continue
        where = f"input '{spec.arg.name}'"
        if not isinstance(value, torch.Tensor):
            yield Problem(where, "it is not a tensor")
        elif not all(isinstance(extent, int) for extent in value.shape):
            hint = "export without dynamic_shapes"
            yield Problem(where, f"shape {list(value.shape)} is symbolic", hint)
        elif 0 in value.shape:
            yield Problem(where, f"shape {list(value.shape)} has a dimension of 0")


def _bad_outputs(program: torch.export.ExportedProgram) -> Iterator[Problem]:
    """Find state that the program changes."""
    for spec in program.graph_signature.output_specs:
        if spec.kind != OutputKind.USER_OUTPUT:
            hint = "export in eval mode; make the state an input and an output"
            yield Problem(f"output '{spec.arg.name}'", f"{spec.kind.name.lower()}", hint)


def _unknown_operators(program: torch.export.ExportedProgram) -> list[Problem]:
    importer = ExportedProgramImporter()
    known = set(importer.convert_map) | set(CONVERTERS)
    hint = "use operators of PyTorch's core ATen set"
    return [
        Problem(f"node '{node.name}'", f"operator {node.target} is not supported", hint)
        for node in program.graph.nodes
        if node.op == "call_function" and getattr(node.target, "__name__", "") not in known
    ]


# --- quantized_decomposed and composite operators ------------------------------------------------


def _number(value: Any, importer: ExportedProgramImporter, dtype: str) -> relax.Expr:
    """Return a scale or zero point, a Python number or a buffer, as a Relax value."""
    if isinstance(value, fx.Node):
        return relax.op.astype(importer.env[value], dtype)
    return relax.const(np.asarray(value, dtype), dtype)


def _arguments(node: fx.Node, count: int) -> tuple[list[Any], int, int, str]:
    """Return the first arguments, then the clip bounds and the integer type."""
    names = [argument.name for argument in node.target._schema.arguments]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    ordered = [given[name] for name in names if name in given]
    low, high, dtype = ordered[count : count + 3]
    if dtype not in (torch.int8, torch.uint8, torch.int32):
        raise NotImplementedError(f"node '{node.name}' is quantised to {dtype}")
    return ordered[:count], int(low), int(high), str(dtype).rsplit(".", 1)[-1]


def _quantize(node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    count = 4 if "per_channel" in node.target.__name__ else 3
    parts, low, high, dtype = _arguments(node, count)
    value = relax.op.quantize(
        importer.env[parts[0]],
        _number(parts[1], importer, "float32"),
        _number(parts[2], importer, "int32"),
        axis=parts[3] if count == 4 else 0,
        out_dtype=dtype,
    )
    limits = np.iinfo(dtype)
    if (low, high) != (limits.min, limits.max):
        value = relax.op.clip(importer.block_builder.emit(value), low, high)
    return importer.block_builder.emit(value)


def _dequantize(node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    count = 4 if "per_channel" in node.target.__name__ else 3
    parts, *_ = _arguments(node, count)
    value = relax.op.dequantize(
        importer.env[parts[0]],
        _number(parts[1], importer, "float32"),
        _number(parts[2], importer, "int32"),
        axis=parts[3] if count == 4 else 0,
    )
    return importer.block_builder.emit(value)


def _hard_swish(node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    return importer.block_builder.emit(hard_swish(importer.env[node.args[0]]))


def _adaptive_average(node: fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    """Average to one pixel as a mean, the form of the other sources."""
    value, size = importer.env[node.args[0]], node.args[1]
    sizes = [size, size] if isinstance(size, int) else list(size)
    if sizes == [1, 1]:
        rank = value.ty.ndim
        result = relax.op.mean(value, axis=[rank - 2, rank - 1], keepdims=True)
    else:
        result = relax.op.nn.adaptive_avg_pool2d(value, sizes, layout="NCHW")
    return importer.block_builder.emit(result)


def _batch_norm(node: fx.Node, importer: ExportedProgramImporter) -> relax.Tuple:
    """Multiply and add, with a factor and an offset that fold into constants."""
    value, *parameters = (None if p is None else importer.env[p] for p in node.args[:5])
    result = batch_norm(value, *parameters, epsilon=float(node.args[6]))
    return relax.Tuple([importer.block_builder.emit(result)])


CONVERTERS: dict[str, Converter] = {
    "quantize_per_tensor.default": _quantize,
    "quantize_per_tensor.tensor": _quantize,
    "quantize_per_channel.default": _quantize,
    "dequantize_per_tensor.default": _dequantize,
    "dequantize_per_tensor.tensor": _dequantize,
    "dequantize_per_channel.default": _dequantize,
    "hardswish.default": _hard_swish,
    "adaptive_avg_pool2d.default": _adaptive_average,
    "_native_batch_norm_legit_no_training.default": _batch_norm,
}
KEPT = frozenset(
    f"aten.{name}"
    for name in """adaptive_avg_pool2d.default avg_pool2d.default conv2d.default
    flatten.using_ints hardsigmoid.default hardswish.default hardtanh.default leaky_relu.default
    linear.default max_pool2d.default pad.default relu6.default silu.default
    softmax.int""".split()
)
