"""An int8 module of an architecture with random weights, in the form that importers give.

Scales are such that values spread over int8: sums of random products have a known deviation, and
every output's range is taken as a few of those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.zoo.architecture import IMAGE, Architecture, Step, walk
from tvm_tiny.zoo.modules_float import convolution, kernel_shape, simple

Array = np.ndarray[Any, Any]
IMAGE_SCALE, IMAGE_ZERO_POINT = 1 / 128, 0
RELU6_SCALE, RELU6_ZERO_POINT = 6 / 255, -128
RELU6_SIZE = 0.72  # root mean square of what is left of a normal variable
DEVIATIONS = 4.0  # that fit the range of an output
LARGEST_WEIGHT = 127
FEWEST_CENTRED = 9
UNIFORM = 3**-0.5  # deviation of a uniform number between -1 and 1


@dataclass(frozen=True)
class _Real:
    """A quantised tensor, and how large its values are (root mean square)."""

    integers: Any
    scale: float
    zero_point: int
    size: float


def int8_module(net: Architecture, seed: int = 0) -> tvm.IRModule:
    """Return `main(image)`, int8 to int8, NHWC, `quantize`/`dequantize` around float operators.

    The same seed gives the same weights.
    """
    shape = (1, net.resolution, net.resolution, net.image_channels)
    image = relax.Var("image", relax.TensorType(shape, "int8"))
    attributes = {
        "tiny.source": "relax",
        "tiny.input_names": ["image"],
        "tiny.output_names": ["logits"],
    }
    last_step = net.steps()[-1].name
    maker = _Maker(relax.BlockBuilder(), np.random.default_rng(seed), last_step)
    with maker.builder.function("main", [image], attrs=attributes):
        with maker.builder.dataflow():
            values = {IMAGE: _Real(image, IMAGE_SCALE, IMAGE_ZERO_POINT, UNIFORM)}
            last = IMAGE
            for last, (step, _, depth) in enumerate(walk(net)):
                inputs = [values[source] for source in step.inputs]
                values[last] = maker.emit(step, inputs, depth)
        maker.builder.emit_func_output(values[last].integers)
    return maker.builder.finalize()


class _Maker:
    """Emits steps between dequantisation and quantisation; the step `last` gives the output."""

    def __init__(
        self, builder: relax.BlockBuilder, generator: np.random.Generator, last: str
    ) -> None:
        self.builder, self.generator, self.last = builder, generator, last

    def emit(self, step: Step, inputs: list[_Real], depth: int) -> _Real:
        """Emit one step."""
        data = [self._dequantized(real, step.name) for real in inputs]
        if step.kind in ("conv2d", "dense"):
            value = self._linear(step, inputs[0], data[0], depth)
            if step.activated:
                value = self.builder.emit(relax.op.clip(value, 0.0, 6.0))
                return self._quantized(value, step.name, RELU6_SCALE, RELU6_ZERO_POINT, RELU6_SIZE)
            size = 1.0
        else:
            value = self.builder.emit(simple(step, data))
            size = float(np.hypot.reduce([real.size for real in inputs]))
        zero_point = int(self.generator.integers(-8, 8))
        return self._quantized(value, step.name, 2 * DEVIATIONS * size / 255, zero_point, size)

    def _linear(self, step: Step, source: _Real, data: Any, depth: int) -> Any:
        """A convolution or dense layer and its bias: sums with a deviation of one."""
        is_conv = step.kind == "conv2d"
        shape = kernel_shape(step, depth) if is_conv else (depth, step.channels)
        axis = 2 if is_conv and step.groups == depth else len(shape) - 1
        terms = int(np.prod(shape)) // step.channels
        spread = self.generator.uniform(0.7, 1.4, step.channels)
        scales = spread / (source.size * UNIFORM * LARGEST_WEIGHT * terms**0.5)
        integers = self.generator.integers(-LARGEST_WEIGHT, LARGEST_WEIGHT, shape, endpoint=True)
        if terms > FEWEST_CENTRED:  # else all nets of many layers would forget their input
            axes = tuple(i for i in range(integers.ndim) if i != axis)
            centred = np.round(integers - integers.mean(axes, keepdims=True))
            integers = centred.clip(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        weight = self._constant(integers.astype(np.int8), scales, axis, step.name)
        bias_scales = np.float32(source.scale) * scales.astype(np.float32)
        bias = np.round(self.generator.normal(0, 0.2, step.channels) / bias_scales)
        offset = self._constant(bias.astype(np.int32), bias_scales, 0, step.name)
        call = convolution(step, data, weight, depth) if is_conv else relax.op.matmul(data, weight)
        return self.builder.emit(relax.op.add(self.builder.emit(call), offset))

    def _constant(self, integers: Array, scales: Array, axis: int, name: str) -> Any:
        parameters = relax.const(scales.astype(np.float32)), relax.const(np.int32(0), "int32")
        call = relax.op.dequantize(relax.const(integers), *parameters, axis=axis)
        return self.builder.emit(call, f"{name}_constant")

    def _dequantized(self, real: _Real, name: str) -> Any:
        parameters = _parameters(real.scale, real.zero_point)
        call = relax.op.dequantize(real.integers, *parameters, axis=0)
        return self.builder.emit(call, f"{name}_dequantize")

    def _quantized(
        self, value: Any, name: str, scale: float, zero_point: int, size: float
    ) -> _Real:
        call = relax.op.quantize(value, *_parameters(scale, zero_point), axis=0, out_dtype="int8")
        emit = self.builder.emit_output if name == self.last else self.builder.emit
        return _Real(emit(call, name), scale, zero_point, size)


def _parameters(scale: float, zero_point: int) -> tuple[Any, Any]:
    return relax.const(np.float32(scale), "float32"), relax.const(np.int32(zero_point), "int32")
