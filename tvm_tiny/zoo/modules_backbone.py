"""The int8 module of a published backbone and a classifier that knows nothing yet.

Integers and scales are the file's own, rounded as TensorFlow Lite Micro does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.errors import ModelError
from tvm_tiny.zoo.backbone import Backbone, Convolution, Inverted, Scale

Array = np.ndarray[Any, Any]
LOGITS = Scale(1 / 4, 0)  # logits between -32 and 32: fewer are clamped, whose gradients are lost
ROOM = 4  # how far the classifier's weights may grow: so often what they start with


def backbone_module(
    backbone: Backbone, classes: int = 10, resolution: int = 128, seed: int = 0
) -> tvm.IRModule:
    """Return `main(image)`, int8 NHWC to int8 logits, as importers of TensorFlow Lite give it.

    The classifier has small random weights, the same for the same seed.
    """
    if classes < 1 or resolution < 1:
        raise ModelError(
            "a classifier needs classes and an image", found=f"{classes} and {resolution}"
        )
    depth = backbone.stem.depth
    image = relax.Var("image", relax.TensorType((1, resolution, resolution, depth), "int8"))
    attributes = {
        "tiny.source": "tflite",
        "tiny.input_names": ["image"],
        "tiny.output_names": ["logits"],
    }
    maker = _Maker(relax.BlockBuilder())
    with maker.builder.function("main", [image], attrs=attributes):
        with maker.builder.dataflow():
            value = maker.convolution(image, backbone.stem)
            for block in backbone.blocks:
                value = maker.block(value, block)
            result = maker.head(value, backbone, classes, np.random.default_rng(seed))
        maker.builder.emit_func_output(result)
    return maker.builder.finalize()


class _Maker:
    """Emits float operators between dequantisation and quantisation."""

    def __init__(self, builder: relax.BlockBuilder) -> None:
        self.builder = builder

    def block(self, entry: Any, block: Inverted) -> Any:
        value = entry
        for convolution in block.convolutions:
            value = self.convolution(value, convolution)
        if block.output is None:
            return value
        scales = block.convolutions[0].input, block.convolutions[-1].output
        shortcut, straight = map(self._dequantized, (entry, value), scales)
        total = self.builder.emit(relax.op.add(shortcut, straight))
        return self.builder.emit(_quantized(total, block.output), f"{block.name}_add")

    def convolution(self, value: Any, layer: Convolution) -> Any:
        is_depthwise = layer.groups == layer.depth
        border = layer.weight.shape[2] // 2
        # HWIO, or HWOI of a depthwise convolution, as the importers have it
        weight = layer.weight.transpose(2, 3, 0, 1) if is_depthwise else _hwio(layer.weight)
        call = relax.op.nn.conv2d(
            self._dequantized(value, layer.input),
            self._constant(weight, layer.weight_scales, axis=2 if is_depthwise else 3),
            strides=[layer.stride] * 2,
            padding=[border] * 4,
            groups=layer.groups,
            data_layout="NHWC",
            kernel_layout="HWOI" if is_depthwise else "HWIO",
        )
        total = self._biased(call, layer.bias, layer.input, layer.weight_scales)
        return self.builder.emit(_quantized(total, layer.output), layer.name)

    def head(
        self, value: Any, backbone: Backbone, classes: int, generator: np.random.Generator
    ) -> Any:
        """The mean over all pixels and a dense layer."""
        source, depth = backbone.output, backbone.channels
        pooled = relax.op.mean(self._dequantized(value, source), axis=[1, 2])
        mean = self.builder.emit(_quantized(self.builder.emit(pooled), source), "pool")
        largest = 127 // ROOM
        integers = generator.integers(-largest, largest, (depth, classes), np.int8, endpoint=True)
        scales = np.full(classes, ROOM * depth**-0.5 / 127, np.float32)
        weight = self._constant(integers, scales, axis=1)
        call = relax.op.matmul(self._dequantized(mean, source), weight)
        total = self._biased(call, np.zeros(classes, np.int32), source, scales)
        return self.builder.emit_output(_quantized(total, LOGITS), "classifier")

    def _biased(self, call: Any, bias: Array, source: Scale, scales: Array) -> Any:
        offset = self._constant(bias, np.float32(source.scale) * scales, axis=0)
        return self.builder.emit(relax.op.add(self.builder.emit(call), offset))

    def _constant(self, integers: Array, scales: Array, axis: int) -> Any:
        data = relax.const(np.ascontiguousarray(integers))
        zero_point = relax.const(np.int32(0), "int32")
        return self.builder.emit(
            relax.op.dequantize(data, relax.const(scales), zero_point, axis=axis)
        )

    def _dequantized(self, value: Any, scale: Scale) -> Any:
        return self.builder.emit(relax.op.dequantize(value, *_parameters(scale), axis=0))


def _hwio(weight: Array) -> Array:
    return weight.transpose(2, 3, 1, 0)


def _quantized(value: Any, scale: Scale) -> Any:
    return relax.op.quantize(value, *_parameters(scale), axis=0, out_dtype="int8")


def _parameters(scale: Scale) -> tuple[Any, Any]:
    return (
        relax.const(np.float32(scale.scale), "float32"),
        relax.const(np.int32(scale.zero_point), "int32"),
    )
