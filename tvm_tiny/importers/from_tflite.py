"""TFLite files to Relax."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_tiny.importers.canonical import Signature, canonicalise
from tvm_tiny.importers.check_tflite import check_tflite
from tvm_tiny.importers.problems import foreign_errors, raise_problems
from tvm_tiny.importers.tflite_converter import TinyOperatorConverter
from tvm_tiny.importers.tflite_reader import TfliteFile, read_tflite, reading


def from_tflite(data: bytes) -> tvm.IRModule:
    """Import a TFLite file's bytes."""
    file = read_tflite(data)
    with reading():
        check_tflite(file)
    with foreign_errors("the TFLite model", "model"):
        return _convert(file)


def _convert(file: TfliteFile) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    converter = TinyOperatorConverter(file, builder)
    parameters = [converter.parameter(index) for index in file.inputs]
    converter.values.update(zip(file.inputs, parameters, strict=True))
    with builder.function("main", parameters):
        with builder.dataflow():
            converter.convert_all()
            outputs = [converter.get_expr(index) for index in file.outputs]
            result = builder.emit_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
        builder.emit_func_output(result)
    raise_problems("the TFLite model", converter.broken, converter.unsupported)
    names = {
        value: file.tensors[index].name
        for index, value in converter.values.items()
        if isinstance(value, relax.Var)
    }
    signature = Signature(
        source="tflite",
        input_names=[file.tensors[index].name for index in file.inputs],
        output_names=[file.tensors[index].name for index in file.outputs],
    )
    return canonicalise(builder.get(), names, signature)
