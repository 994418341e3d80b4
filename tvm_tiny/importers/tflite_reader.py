"""A TFLite file as plain frozen dataclasses, read once, with every read bounded.

FlatBuffers for Python has no verifier: reading a broken file raises whatever it likes, or walks
over billions of elements. All of that ends here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from tvm_tiny.errors import ModelError, Problem, UnsupportedError

IDENTIFIER = b"TFL3"
MAX_ITEMS = 16384
READ_ERRORS = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    MemoryError,
)


def enum_names(enum: type) -> dict[int, str]:
    """Return the names of a generated FlatBuffers enum by value."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


OPERATOR_NAMES = enum_names(tflite.BuiltinOperator)
OPTION_NAMES = enum_names(tflite.BuiltinOptions)
TYPE_NAMES = {value: name.lower() for value, name in enum_names(tflite.TensorType).items()}


@dataclass(frozen=True)
class TfliteTensor:
    """One tensor of the file; `data_bytes` is 0 where it is computed at run time."""

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: int
    data_bytes: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    is_sparse: bool
    is_variable: bool

    @property
    def where(self) -> str:
        """Where errors about this tensor are."""
        return f"tensor {self.index} '{self.name}'"

    @property
    def is_quantised(self) -> bool:
        """Integers that stand for reals; quantisation of a float tensor means nothing."""
        return bool(self.scales) and self.dtype in ("int8", "uint8", "int16")


@dataclass(frozen=True)
class TfliteOperator:
    """One operator; `options` is the generated options object, or None."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_name: str
    options: Any

    @property
    def where(self) -> str:
        """Where errors about this operator are."""
        return f"operator {self.index} {self.name}"


@dataclass(frozen=True)
class TfliteFile:
    """The first subgraph of a file."""

    root: Any
    subgraph: Any
    subgraph_count: int
    buffer_count: int
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def tensor(self, index: int) -> TfliteTensor | None:
        """Return the tensor of an operator's input or output; None if absent or out of range."""
        return self.tensors[index] if 0 <= index < len(self.tensors) else None


def read_tflite(data: bytes) -> TfliteFile:
    """Read a file's first subgraph; a broken file is a ModelError."""
    if data[4:8] != IDENTIFIER:
        raise ModelError("not a TFLite file", found=data[4:8], limit=IDENTIFIER)
    with reading():
        return _read(data)


@contextmanager
def reading() -> Iterator[None]:
    """Turn what FlatBuffers raises on a broken file into a ModelError."""
    try:
        yield
    except READ_ERRORS as error:
        problem = Problem("file", f"it is truncated or its offsets are wrong ({error})")
        raise ModelError("the TFLite model is broken", problems=[problem]) from error


def _read(data: bytes) -> TfliteFile:
    root = tflite.Model.GetRootAs(data, 0)
    count = root.SubgraphsLength()
    if count < 1:
        raise ModelError("the TFLite file holds no subgraph")
    subgraph = root.Subgraphs(0)
    return TfliteFile(
        root=root,
        subgraph=subgraph,
        subgraph_count=count,
        buffer_count=_bounded("buffers", root.BuffersLength()),
        tensors=_read_all(
            "tensors", subgraph.TensorsLength(), lambda i: _tensor(root, subgraph, i)
        ),
        operators=_read_all(
            "operators", subgraph.OperatorsLength(), lambda i: _operator(root, subgraph, i)
        ),
        inputs=_integers(subgraph.InputsAsNumpy()),
        outputs=_integers(subgraph.OutputsAsNumpy()),
    )


def _bounded(what: str, count: int) -> int:
    if count > MAX_ITEMS:
        raise UnsupportedError(f"too many {what}", limit=MAX_ITEMS, found=count)
    return count


def _read_all(what: str, count: int, read: Callable[[int], Any]) -> tuple[Any, ...]:
    return tuple(read(index) for index in range(_bounded(what, count)))


def _integers(values: Any) -> tuple[int, ...]:
    """Return a FlatBuffers vector as integers; an absent vector comes as the number 0."""
    if not isinstance(values, np.ndarray):
        return ()
    _bounded("elements in a vector", values.size)
    return tuple(int(value) for value in values)


def _tensor(root: Any, subgraph: Any, index: int) -> TfliteTensor:
    tensor = subgraph.Tensors(index)
    buffer, quantisation = tensor.Buffer(), tensor.Quantization()
    in_range = buffer < root.BuffersLength()
    scales = quantisation.ScaleAsNumpy() if quantisation else 0
    return TfliteTensor(
        index=index,
        name=(tensor.Name() or b"").decode("utf-8", "replace") or f"tensor_{index}",
        dtype=TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}"),
        shape=_integers(tensor.ShapeAsNumpy()),
        buffer=buffer,
        data_bytes=_data_bytes(root.Buffers(buffer)) if in_range else 0,
        scales=tuple(map(float, scales)) if isinstance(scales, np.ndarray) else (),
        zero_points=_integers(quantisation.ZeroPointAsNumpy()) if quantisation else (),
        quantized_dimension=quantisation.QuantizedDimension() if quantisation else 0,
        is_sparse=tensor.Sparsity() is not None,
        is_variable=bool(tensor.IsVariable()),
    )


def _data_bytes(buffer: Any) -> int:
    data = buffer.DataAsNumpy()
    if buffer.Offset() > 1:
        raise UnsupportedError(
            "weights outside the FlatBuffer are not supported", hint="convert the model again"
        )
    return data.size if isinstance(data, np.ndarray) else 0


def _operator(root: Any, subgraph: Any, index: int) -> TfliteOperator:
    operator = subgraph.Operators(index)
    code_index = operator.OpcodeIndex()
    options_name = OPTION_NAMES.get(operator.BuiltinOptionsType(), "unknown")
    return TfliteOperator(
        index=index,
        name=_operator_name(root, code_index),
        inputs=_integers(operator.InputsAsNumpy()),
        outputs=_integers(operator.OutputsAsNumpy()),
        options_name=options_name,
        options=_options(operator, options_name),
    )


def _operator_name(root: Any, code_index: int) -> str:
    if not 0 <= code_index < root.OperatorCodesLength():
        return f"with operator code {code_index} out of range"
    code = root.OperatorCodes(code_index)
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = OPERATOR_NAMES.get(number, f"with unknown code {number}")
    if name != "CUSTOM":
        return name
    return f"CUSTOM {(code.CustomCode() or b'').decode('utf-8', 'replace')}"


def _options(operator: Any, options_name: str) -> Any:
    """Return the typed options object, or None where there is none."""
    table, reader = operator.BuiltinOptions(), getattr(tflite, options_name, None)
    if table is None or reader is None or not isinstance(reader, type):
        return None
    options = reader()
    options.Init(table.Bytes, table.Pos)
    return options
