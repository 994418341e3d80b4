"""Write TFLite models from plain dataclasses, and read them back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

Array = npt.NDArray[Any]
OptionValue = str | int | float | bool | tuple[int, ...]

MISSING = -1  # the tensor index of an optional operand that is left out


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor; constants carry `data`, float tensors no scales."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    quantized_dimension: int = 0
    data: Array | None = None


@dataclass(frozen=True)
class Operator:
    """An operator by its builtin name; an option that is left out has the schema's default."""

    builtin: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True)
class Model:
    """A model of one subgraph; operators, inputs and outputs name tensors by their index."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


DTYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int32": tflite.TensorType.INT32,
    "uint8": tflite.TensorType.UINT8,
    "int64": tflite.TensorType.INT64,
    "bool": tflite.TensorType.BOOL,
    "int16": tflite.TensorType.INT16,
    "int8": tflite.TensorType.INT8,
}

# builtin name -> the schema's options table (or none) and its fields
OPTIONS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "CONV_2D": (
        "Conv2DOptions",
        (
            "padding",
            "stride_w",
            "stride_h",
            "fused_activation_function",
            "dilation_w_factor",
            "dilation_h_factor",
            "quantized_bias_type",
        ),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        (
            "padding",
            "stride_w",
            "stride_h",
            "depth_multiplier",
            "fused_activation_function",
            "dilation_w_factor",
            "dilation_h_factor",
        ),
    ),
    "FULLY_CONNECTED": (
        "FullyConnectedOptions",
        (
            "fused_activation_function",
            "weights_format",
            "keep_num_dims",
            "asymmetric_quantize_inputs",
            "quantized_bias_type",
        ),
    ),
    "ADD": ("AddOptions", ("fused_activation_function", "pot_scale_int16")),
    "SUB": ("SubOptions", ("fused_activation_function", "pot_scale_int16")),
    "MUL": ("MulOptions", ("fused_activation_function",)),
    **dict.fromkeys(
        ("AVERAGE_POOL_2D", "MAX_POOL_2D"),
        (
            "Pool2DOptions",
            (
                "padding",
                "stride_w",
                "stride_h",
                "filter_width",
                "filter_height",
                "fused_activation_function",
            ),
        ),
    ),
    "MEAN": ("ReducerOptions", ("keep_dims",)),
    "SOFTMAX": ("SoftmaxOptions", ("beta",)),
    "RESHAPE": ("ReshapeOptions", ("new_shape",)),
    "PAD": ("PadOptions", ()),
    "CONCATENATION": ("ConcatenationOptions", ("axis", "fused_activation_function")),
    "LOGISTIC": (None, ()),
    "TANH": (None, ()),
    "HARD_SWISH": ("HardSwishOptions", ()),
    "RELU": (None, ()),
    "RELU6": (None, ()),
    "LEAKY_RELU": ("LeakyReluOptions", ("alpha",)),
    "QUANTIZE": ("QuantizeOptions", ()),
    "DEQUANTIZE": ("DequantizeOptions", ()),
    "TRANSPOSE": ("TransposeOptions", ()),
    "RESIZE_NEAREST_NEIGHBOR": (
        "ResizeNearestNeighborOptions",
        ("align_corners", "half_pixel_centers"),
    ),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        (
            "begin_mask",
            "end_mask",
            "ellipsis_mask",
            "new_axis_mask",
            "shrink_axis_mask",
            "offset",
        ),
    ),
    "SQUEEZE": ("SqueezeOptions", ("squeeze_dims",)),
}

ENUMS = {
    "padding": tflite.Padding,
    "fused_activation_function": tflite.ActivationFunctionType,
    "weights_format": tflite.FullyConnectedOptionsWeightsFormat,
    "quantized_bias_type": tflite.TensorType,
}
VECTORS = ("new_shape", "squeeze_dims")

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
LARGEST_DEPRECATED_CODE = 127


def write(model: Model) -> bytes:
    """Return the model as a TFLite file."""
    builder = flatbuffers.Builder(1 << 16)
    codes = list(dict.fromkeys((op.builtin, op.version) for op in model.operators))
    constants = [index for index, tensor in enumerate(model.tensors) if tensor.data is not None]
    # buffer 0 is empty by convention and stands for "no data"
    buffer_of = {tensor: buffer for buffer, tensor in enumerate(constants, 1)}
    fields = {
        "Version": SCHEMA_VERSION,
        "OperatorCodes": _tables(builder, [_write_code(builder, *code) for code in codes]),
        "Subgraphs": _tables(builder, [_write_subgraph(builder, model, codes, buffer_of)]),
        "Description": builder.CreateString("tvm_tiny test model"),
        "Buffers": _tables(
            builder,
            [
                _write_buffer(builder, None),
                *(_write_buffer(builder, model.tensors[index].data) for index in constants),
            ],
        ),
    }
    builder.Finish(_table(builder, "Model", fields), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: Any, name: str, fields: Mapping[str, Any]) -> int:
    getattr(tflite, f"{name}Start")(builder)
    for key, value in fields.items():
        getattr(tflite, f"{name}Add{key}")(builder, value)
    end: int = getattr(tflite, f"{name}End")(builder)
    return end


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    vector: int = builder.EndVector()
    return vector


def _numbers(builder: Any, values: Iterable[float], dtype: str = "int32") -> int:
    vector: int = builder.CreateNumpyVector(np.array(list(values), dtype))
    return vector


def _write_code(builder: Any, builtin: str, version: int) -> int:
    code = getattr(tflite.BuiltinOperator, builtin)
    fields = {
        "DeprecatedBuiltinCode": min(code, LARGEST_DEPRECATED_CODE),
        "Version": version,
        "BuiltinCode": code,
    }
    return _table(builder, "OperatorCode", fields)


def _write_buffer(builder: Any, data: Array | None) -> int:
    if data is None:
        return _table(builder, "Buffer", {})
    content = data.tobytes()
    builder.Prep(BUFFER_ALIGNMENT, len(content))
    return _table(builder, "Buffer", {"Data": builder.CreateByteVector(content)})


def _write_subgraph(
    builder: Any,
    model: Model,
    codes: Sequence[tuple[str, int]],
    buffer_of: Mapping[int, int],
) -> int:
    fields = {
        "Tensors": _tables(
            builder,
            [
                _write_tensor(builder, tensor, buffer_of.get(index, 0))
                for index, tensor in enumerate(model.tensors)
            ],
        ),
        "Inputs": _numbers(builder, model.inputs),
        "Outputs": _numbers(builder, model.outputs),
        "Operators": _tables(
            builder,
            [_write_operator(builder, operator, codes) for operator in model.operators],
        ),
        "Name": builder.CreateString("main"),
    }
    return _table(builder, "SubGraph", fields)


def _write_tensor(builder: Any, tensor: Tensor, buffer: int) -> int:
    fields = {
        "Shape": _numbers(builder, tensor.shape),
        "Type": DTYPES[tensor.dtype],
        "Buffer": buffer,
        "Name": builder.CreateString(tensor.name),
        "HasRank": True,
    }
    if tensor.scales:
        fields["Quantization"] = _write_quantization(builder, tensor)
    return _table(builder, "Tensor", fields)


def _write_quantization(builder: Any, tensor: Tensor) -> int:
    zero_points = [tensor.zero_point] * len(tensor.scales)
    fields = {
        "Scale": _numbers(builder, tensor.scales, "float32"),
        "ZeroPoint": _numbers(builder, zero_points, "int64"),
        "QuantizedDimension": tensor.quantized_dimension,
    }
    return _table(builder, "QuantizationParameters", fields)


def _write_operator(builder: Any, operator: Operator, codes: Sequence[tuple[str, int]]) -> int:
    fields = {
        "OpcodeIndex": codes.index((operator.builtin, operator.version)),
        "Inputs": _numbers(builder, operator.inputs),
        "Outputs": _numbers(builder, operator.outputs),
    }
    table, names = OPTIONS[operator.builtin]
    unknown = set(operator.options) - set(names)
    if unknown:
        raise ValueError(f"{operator.builtin} has no option {sorted(unknown)}, only {names}")
    # tables with fields but none set are left out, as the converter does for RESHAPE
    if table is not None and (operator.options or not names):
        fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, table)
        fields["BuiltinOptions"] = _write_options(builder, table, operator.options)
    return _table(builder, "Operator", fields)


def _write_options(builder: Any, table: str, options: Mapping[str, OptionValue]) -> int:
    # vectors come before the table that holds them, hence a dict and not a generator
    fields = {_camel(name): _encode(builder, name, value) for name, value in options.items()}
    return _table(builder, table, fields)


def _encode(builder: Any, name: str, value: Any) -> Any:
    if name in ENUMS:
        return getattr(ENUMS[name], value)
    return _numbers(builder, value) if name in VECTORS else value


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def read(model_bytes: bytes) -> Model:
    """Return the model in a TFLite file; a ValueError names what this module does not know."""
    root = tflite.Model.GetRootAs(model_bytes)
    if root.SubgraphsLength() != 1:
        raise ValueError(f"expected one subgraph, found {root.SubgraphsLength()}")
    graph = root.Subgraphs(0)
    return Model(
        tensors=_each(lambda i: _read_tensor(root, graph.Tensors(i)), graph.TensorsLength()),
        operators=_each(
            lambda i: _read_operator(root, graph.Operators(i)), graph.OperatorsLength()
        ),
        inputs=_each(graph.Inputs, graph.InputsLength()),
        outputs=_each(graph.Outputs, graph.OutputsLength()),
    )


def _each(get: Callable[[int], Any], count: int) -> tuple[Any, ...]:
    return tuple(get(index) for index in range(count))


def _name_of(enum: type, value: int) -> str:
    return next(name for name, number in vars(enum).items() if number == value)


def _read_tensor(root: Any, tensor: Any) -> Tensor:
    name = tensor.Name().decode()
    if tensor.IsVariable():
        raise ValueError(f"tensor {name!r} is a variable")
    shape = _each(tensor.Shape, tensor.ShapeLength())
    dtype = next((key for key, code in DTYPES.items() if code == tensor.Type()), None)
    if dtype is None:
        raise ValueError(f"tensor {name!r} has type {tensor.Type()}")
    scales, zero_point, dimension = _read_quantization(name, tensor.Quantization())
    data = _read_data(root.Buffers(tensor.Buffer()), dtype, shape)
    return Tensor(name, shape, dtype, scales, zero_point, dimension, data)


def _read_quantization(name: str, quantization: Any) -> tuple[tuple[float, ...], int, int]:
    if quantization is None or quantization.ScaleLength() == 0:
        return (), 0, 0
    scales = _each(quantization.Scale, quantization.ScaleLength())
    zero_points = set(_each(quantization.ZeroPoint, quantization.ZeroPointLength()))
    if len(zero_points) > 1:
        raise ValueError(f"tensor {name!r} has a zero point per channel: {sorted(zero_points)}")
    return scales, zero_points.pop() if zero_points else 0, quantization.QuantizedDimension()


def _read_data(buffer: Any, dtype: str, shape: tuple[int, ...]) -> Array | None:
    if buffer.DataLength() == 0:
        return None
    content = buffer.DataAsNumpy().tobytes()
    return np.frombuffer(content, dtype).reshape(shape)


def _read_operator(root: Any, operator: Any) -> Operator:
    code = root.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    builtin = _name_of(tflite.BuiltinOperator, number)
    if builtin not in OPTIONS:
        raise ValueError(f"operator {builtin} is not supported, only {sorted(OPTIONS)}")
    return Operator(
        builtin,
        inputs=_each(operator.Inputs, operator.InputsLength()),
        outputs=_each(operator.Outputs, operator.OutputsLength()),
        options=_read_options(builtin, operator.BuiltinOptions()),
        version=code.Version(),
    )


def _read_options(builtin: str, content: Any) -> dict[str, OptionValue]:
    table, names = OPTIONS[builtin]
    if table is None or content is None:
        return {}
    options = getattr(tflite, table)()
    options.Init(content.Bytes, content.Pos)
    return {name: _decode(options, name) for name in names}


def _decode(options: Any, name: str) -> OptionValue:
    get = getattr(options, _camel(name))
    if name in VECTORS:
        return _each(get, getattr(options, f"{_camel(name)}Length")())
    return _name_of(ENUMS[name], get()) if name in ENUMS else get()
