"""Models of one operator with random constants, to test each operator on its own.

An input is given by its shape, or as a `Tensor` to choose its scale and zero point. Scales are
such that full-range random inputs spread the outputs over int8 with few of them saturated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.tflite_writer import MISSING, Model, Operator, OptionValue, Tensor

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Pair = tuple[int, int]
Input = Shape | Tensor

# Results of matrix products are scaled to this root mean square, so that RELU6 cuts some of them.
TARGET_RMS = 2.5
OUTPUT_RANGES = {
    "NONE": (-3 * TARGET_RMS, 3 * TARGET_RMS),
    "RELU": (0.0, 3 * TARGET_RMS),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
LEVEL_VARIANCE = (256**2 - 1) / 12  # of a uniform int8 value
LEVEL_MEAN = -0.5


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image; pairs are (height, width)."""

    kernel: Pair = (3, 3)
    strides: Pair = (1, 1)
    padding: str = "SAME"
    dilation: Pair = (1, 1)

    def output_size(self, height_width: Sequence[int]) -> Pair:
        """Return the height and width of the output."""
        height, width = (self._output_length(axis, height_width[axis]) for axis in range(2))
        return height, width

    def _output_length(self, axis: int, length: int) -> int:
        reach = (self.kernel[axis] - 1) * self.dilation[axis] if self.padding == "VALID" else 0
        return (length - reach - 1) // self.strides[axis] + 1

    def options(self) -> dict[str, OptionValue]:
        """Return the options that convolutions and pools share."""
        return {
            "padding": self.padding,
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
        }

    def dilation_options(self) -> dict[str, OptionValue]:
        """Return the options that only convolutions have."""
        return {"dilation_h_factor": self.dilation[0], "dilation_w_factor": self.dilation[1]}


@dataclass(frozen=True)
class Weights:
    """What constants a matrix product has; the specification wants `lowest` >= -127."""

    lowest: int = -127
    bias: bool = True
    per_channel: bool = True


DEFAULT_WINDOW = Window()
DEFAULT_WEIGHTS = Weights()


def int8_tensor(
    shape: Shape, scale: float = 0.02, zero_point: int = -3, name: str = "input"
) -> Tensor:
    """Return an int8 tensor to use as an operator's input."""
    return Tensor(name, shape, "int8", (float(np.float32(scale)),), zero_point)


def conv2d(
    source: Input,
    filters: int,
    window: Window = DEFAULT_WINDOW,
    *,
    activation: str = "NONE",
    weights: Weights = DEFAULT_WEIGHTS,
    seed: int = 0,
) -> Model:
    """Return CONV_2D; the input is NHWC, the weights OHWI."""
    source = _as_tensor(source)
    filter_shape = (filters, *window.kernel, source.shape[3])
    operands, quantization = _matrix_operands(source, filter_shape, 0, weights, activation, seed)
    shape = (source.shape[0], *window.output_size(source.shape[1:3]), filters)
    options = {
        **window.options(),
        **window.dilation_options(),
        "fused_activation_function": activation,
    }
    return _model("CONV_2D", operands, replace(quantization, shape=shape), options)


def depthwise_conv2d(
    source: Input,
    multiplier: int = 1,
    window: Window = DEFAULT_WINDOW,
    *,
    activation: str = "NONE",
    weights: Weights = DEFAULT_WEIGHTS,
    seed: int = 0,
) -> Model:
    """Return DEPTHWISE_CONV_2D; the input is NHWC, the weights 1HWC."""
    source = _as_tensor(source)
    channels = source.shape[3] * multiplier
    filter_shape = (1, *window.kernel, channels)
    operands, quantization = _matrix_operands(source, filter_shape, 3, weights, activation, seed)
    shape = (source.shape[0], *window.output_size(source.shape[1:3]), channels)
    options = {
        **window.options(),
        **window.dilation_options(),
        "depth_multiplier": multiplier,
        "fused_activation_function": activation,
    }
    return _model("DEPTHWISE_CONV_2D", operands, replace(quantization, shape=shape), options)


def fully_connected(
    source: Input,
    units: int,
    *,
    activation: str = "NONE",
    weights: Weights = DEFAULT_WEIGHTS,
    keep_num_dims: bool = False,
    seed: int = 0,
) -> Model:
    """Return FULLY_CONNECTED over the last axis of the input; the weights are (units, depth)."""
    source = _as_tensor(source)
    filter_shape = (units, source.shape[-1])
    operands, quantization = _matrix_operands(source, filter_shape, 0, weights, activation, seed)
    rows = source.shape[:-1] if keep_num_dims else (int(np.prod(source.shape[:-1])),)
    options: dict[str, OptionValue] = {
        "fused_activation_function": activation,
        "keep_num_dims": keep_num_dims,
    }
    return _model("FULLY_CONNECTED", operands, replace(quantization, shape=(*rows, units)), options)


def binary(
    builtin: str,
    left: Input,
    right: Input,
    *,
    activation: str = "NONE",
    constant: str | None = None,
    seed: int = 0,
) -> Model:
    """Return ADD, SUB or MUL of broadcast operands; `constant` is "left", "right" or None."""
    operands = {
        "left": _as_tensor(left, scale=0.03, zero_point=5, name="left"),
        "right": _as_tensor(right, scale=0.02, zero_point=-9, name="right"),
    }
    if constant is not None:
        operands[constant] = _filled(operands[constant], np.random.default_rng(seed))
    shape = np.broadcast_shapes(*(operand.shape for operand in operands.values()))
    output = _ranged(shape, *OUTPUT_RANGES[activation])
    return _model(builtin, [*operands.values()], output, {"fused_activation_function": activation})


def pool2d(
    builtin: str, source: Input, window: Window = DEFAULT_WINDOW, *, activation: str = "NONE"
) -> Model:
    """Return AVERAGE_POOL_2D or MAX_POOL_2D."""
    source = _as_tensor(source)
    batch, *height_width, channels = source.shape
    options = {
        **window.options(),
        "filter_height": window.kernel[0],
        "filter_width": window.kernel[1],
        "fused_activation_function": activation,
    }
    shape = (batch, *window.output_size(height_width), channels)
    return _model(builtin, [source], _like(source, shape), options)


def mean(source: Input, axes: Sequence[int] = (1, 2), *, keep_dims: bool = False) -> Model:
    """Return MEAN; the output has a finer scale than the input, as averages vary less."""
    source = _as_tensor(source)
    shape = np.empty(source.shape).mean(tuple(axes), keepdims=keep_dims).shape
    averaged = np.prod([source.shape[axis] for axis in axes])
    scale = source.scales[0] * min(1.0, 2 / np.sqrt(averaged))
    output = int8_tensor(shape, scale, source.zero_point // 2, "output")
    return _model("MEAN", [source, _int32("axes", axes)], output, {"keep_dims": keep_dims})


def softmax(source: Input, *, beta: float = 1.0) -> Model:
    """Return SOFTMAX over the last axis."""
    source = _as_tensor(source)
    output = Tensor("output", source.shape, "int8", (1 / 256,), -128)
    return _model("SOFTMAX", [source], output, {"beta": beta})


def unary(builtin: str, source: Input, *, alpha: float = 0.1) -> Model:
    """Return LOGISTIC, TANH, HARD_SWISH, RELU, RELU6 or LEAKY_RELU (the only one with alpha)."""
    source = _as_tensor(source, scale=0.06)
    if builtin == "RELU6":
        # TFLite Micro clamps and does not rescale, whatever the output's scale
        return _model(builtin, [source], _like(source, source.shape))
    scale = source.scales[0]
    highest = scale * (127 - source.zero_point)
    lowest = scale * (-128 - source.zero_point)
    low, high = {
        "LOGISTIC": (0.0, 255 / 256),  # these two ranges are fixed by the specification
        "TANH": (-1.0, 127 / 128),
        "HARD_SWISH": (-0.375, highest),
        "RELU": (0.0, highest),
        "LEAKY_RELU": (alpha * lowest, highest),
    }[builtin]
    options = {"alpha": alpha} if builtin == "LEAKY_RELU" else {}
    return _model(builtin, [source], _ranged(source.shape, low, high), options)


def pad(source: Input, paddings: Sequence[Pair]) -> Model:
    """Return PAD with (before, after) for each axis."""
    source = _as_tensor(source)
    shape = tuple(sum(pair) + length for pair, length in zip(paddings, source.shape, strict=True))
    return _model("PAD", [source, _int32("paddings", paddings)], _like(source, shape))


def concatenation(shapes: Sequence[Shape], axis: int = -1) -> Model:
    """Return CONCATENATION; int8 operands share one scale and zero point."""
    operands = [int8_tensor(shape, name=f"input_{index}") for index, shape in enumerate(shapes)]
    shape = np.concatenate([np.empty(shape) for shape in shapes], axis).shape
    return _model("CONCATENATION", operands, _like(operands[0], shape), {"axis": axis})


def quantize(source: Input) -> Model:
    """Return QUANTIZE from float32, or to another scale where the input is int8."""
    source = source if isinstance(source, Tensor) else Tensor("input", source, "float32")
    output = Tensor("output", source.shape, "int8", (float(np.float32(0.025)),), 7)
    return _model("QUANTIZE", [source], output)


def dequantize(source: Input) -> Model:
    """Return DEQUANTIZE from int8 to float32."""
    source = _as_tensor(source)
    return _model("DEQUANTIZE", [source], Tensor("output", source.shape, "float32"))


def reshape(source: Input, shape: Shape) -> Model:
    """Return RESHAPE to a shape without -1."""
    source = _as_tensor(source)
    operands = [source, _int32("shape", shape)]
    return _model("RESHAPE", operands, _like(source, shape), {"new_shape": shape})


def squeeze(source: Input, axes: tuple[int, ...]) -> Model:
    """Return SQUEEZE of axes of length one."""
    source = _as_tensor(source)
    shape = np.empty(source.shape).squeeze(axes).shape
    return _model("SQUEEZE", [source], _like(source, shape), {"squeeze_dims": axes})


def transpose(source: Input, permutation: Sequence[int]) -> Model:
    """Return TRANSPOSE."""
    source = _as_tensor(source)
    shape = tuple(source.shape[axis] for axis in permutation)
    return _model("TRANSPOSE", [source, _int32("permutation", permutation)], _like(source, shape))


def resize_nearest_neighbor(
    source: Input, size: Pair, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Model:
    """Return RESIZE_NEAREST_NEIGHBOR to (height, width)."""
    source = _as_tensor(source)
    shape = (source.shape[0], *size, source.shape[3])
    options: dict[str, OptionValue] = {
        "align_corners": align_corners,
        "half_pixel_centers": half_pixel_centers,
    }
    operands = [source, _int32("size", size)]
    return _model("RESIZE_NEAREST_NEIGHBOR", operands, _like(source, shape), options)


def strided_slice(
    source: Input,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    *,
    shrink_axis_mask: int = 0,
) -> Model:
    """Return STRIDED_SLICE; an axis whose bit is in the mask is indexed by `begin` and dropped."""
    source = _as_tensor(source)
    index = tuple(
        first if shrink_axis_mask >> axis & 1 else slice(first, last, step)
        for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True))
    )
    operands = [source, _int32("begin", begin), _int32("end", end), _int32("strides", strides)]
    output = _like(source, np.empty(source.shape)[index].shape)
    return _model("STRIDED_SLICE", operands, output, {"shrink_axis_mask": shrink_axis_mask})


def _as_tensor(
    source: Input, scale: float = 0.02, zero_point: int = -3, name: str = "input"
) -> Tensor:
    return source if isinstance(source, Tensor) else int8_tensor(source, scale, zero_point, name)


def _like(source: Tensor, shape: Shape) -> Tensor:
    return replace(source, name="output", shape=shape)


def _ranged(shape: Shape, low: float, high: float) -> Tensor:
    scale = (high - low) / 255
    return int8_tensor(shape, scale, round(-128 - low / scale), "output")


def _int32(name: str, values: Sequence[Any]) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name, data.shape, "int32", data=data)


def _filled(tensor: Tensor, generator: np.random.Generator, lowest: int = -128) -> Tensor:
    """Return the tensor as an int8 constant that holds both ends of its range."""
    data = generator.integers(lowest, 128, tensor.shape, np.int8)
    data.flat[0] = lowest
    data.flat[-1] = 127
    return replace(tensor, data=data)


def _matrix_operands(
    source: Tensor,
    shape: Shape,
    channel_axis: int,
    weights: Weights,
    activation: str,
    seed: int,
) -> tuple[list[Tensor | None], Tensor]:
    """Return the operands of a matrix product, and a tensor with the output's quantisation."""
    generator = np.random.default_rng(seed)
    blank = Tensor("weights", shape, "int8", quantized_dimension=channel_axis)
    matrix = _filled(blank, generator, weights.lowest)
    scales = _weight_scales(source, matrix, weights.per_channel, generator)
    matrix = replace(matrix, scales=tuple(float(scale) for scale in scales))
    bias = _bias(source, scales, shape[channel_axis], generator) if weights.bias else None
    return [source, matrix, bias], _ranged((), *OUTPUT_RANGES[activation])


def _weight_scales(
    source: Tensor, matrix: Tensor, per_channel: bool, generator: np.random.Generator
) -> Array:
    """Return scales that bring the results of uniform random inputs to TARGET_RMS."""
    assert matrix.data is not None
    rows = np.moveaxis(matrix.data.astype(np.float64), matrix.quantized_dimension, 0)
    rows = rows.reshape(rows.shape[0], -1)
    mean = LEVEL_MEAN - source.zero_point
    power = LEVEL_VARIANCE * (rows**2).sum(1) + (mean * rows.sum(1)) ** 2
    spread = generator.uniform(0.5, 1.5, len(power))
    scales: Array = TARGET_RMS * spread / (source.scales[0] * np.sqrt(power))
    return (scales if per_channel else scales.mean(keepdims=True)).astype(np.float32)


def _bias(
    source: Tensor, weight_scales: Array, channels: int, generator: np.random.Generator
) -> Tensor:
    scales = np.float32(source.scales[0]) * weight_scales
    values = generator.normal(0, TARGET_RMS / 3, channels) / scales
    data = np.rint(values).astype(np.int32)
    return Tensor("bias", (channels,), "int32", tuple(float(s) for s in scales), data=data)


def _model(
    builtin: str,
    operands: Sequence[Tensor | None],
    output: Tensor,
    options: Mapping[str, OptionValue] | None = None,
) -> Model:
    tensors = [tensor for tensor in operands if tensor is not None]
    inputs = tuple(index for index, tensor in enumerate(tensors) if tensor.data is None)
    # only the last operand, the bias, is ever left out
    operand_indices = (*range(len(tensors)), *([MISSING] * (len(operands) - len(tensors))))
    outputs = (len(tensors),)
    operator = Operator(builtin, operand_indices, outputs, options or {})
    return Model((*tensors, output), (operator,), inputs, outputs)
