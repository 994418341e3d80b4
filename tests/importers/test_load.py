from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from tvm import relax

from tests.importers.evaluate import run
from tests.importers.onnx_models import net
from tests.support import one_operator as one
from tests.support.tflite_writer import write
from tvm_tiny.errors import ModelError
from tvm_tiny.importers import load

TFLITE = write(one.conv2d((1, 6, 5, 4), 5))


def relu_module(name: str = "main") -> tvm.IRModule:
    builder = relax.BlockBuilder()
    value = relax.Var("value", relax.TensorType((2, 3), "float32"))
    with builder.function(name, [value]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(value))
        builder.emit_func_output(result)
    return builder.get()


def source(module: tvm.IRModule) -> str:
    return str(module["main"].attrs["tiny.source"])


@pytest.mark.parametrize("kind", [str, Path])
def test_the_kind_of_a_file_is_told_by_its_content(tmp_path: Path, kind: type) -> None:
    for data, expected in ((TFLITE, "tflite"), (net().SerializeToString(), "onnx")):
        path = tmp_path / "model.bin"
        path.write_bytes(data)
        assert source(load(kind(path))) == expected


def test_objects_in_memory() -> None:
    assert source(load(TFLITE)) == "tflite"
    assert source(load(bytearray(TFLITE))) == "tflite"
    assert source(load(net().SerializeToString())) == "onnx"
    assert source(load(net())) == "onnx"


def test_a_relax_module_keeps_its_code_and_gets_attributes() -> None:
    module = load(relu_module())
    attributes = module["main"].attrs
    assert (source(module), list(attributes["tiny.input_names"])) == ("relax", ["value"])
    assert list(attributes["tiny.output_names"]) == ["output_0"]
    assert run(module, -np.ones((2, 3), np.float32))[0].max() == 0


def test_an_imported_module_keeps_its_source() -> None:
    assert source(load(load(TFLITE))) == "tflite"


BAD = {
    "missing": ("does_not_exist.tflite", "cannot read the model: No such file"),
    "null_in_path": ("a\0b", "cannot read the model"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is not a model", "the kind of the file is not known"),
    "number": (3, "a int is not a model"),
    "none": (None, "a NoneType is not a model"),
    "no_main": (relu_module("other"), "no function main"),
    "empty_module": (tvm.IRModule(), "no function main"),
    "empty_protobuf": (onnx.ModelProto(), "no operator set of ONNX"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model_is_refused_with_a_reason(name: str) -> None:
    model, message = BAD[name]
    with pytest.raises(ModelError, match=message):
        load(model)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give the path of a model file"):
        load(tmp_path)
