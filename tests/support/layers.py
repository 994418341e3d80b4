"""Single layers by name, such as "conv3x3s2 96x96x3->8", with random constants.

Names are `KIND[HxW][sSTRIDE][dDILATION][gGROUPS] HEIGHTxWIDTHxDEPTH[->CHANNELS] [linear]`; kinds
are conv, dw (depthwise), fc, avgpool (of all pixels if it has no window) and add. Padding is SAME.
Multipliers and shifts differ from channel to channel as in trained networks. Outputs have the zero
point of a fused ReLU unless the layer is `linear`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.calls import call_of
from tvm_tiny.schedules import numerics, qadd
from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdense import QDENSE, QDenseAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

NAME = re.compile(
    r"(?P<kind>[a-z]+)(?P<window>\d+x\d+)?"
    r"(s(?P<stride>\d+))?(d(?P<dilation>\d+))?(g(?P<groups>\d+))?"
    r" (?P<shape>\d+(x\d+x\d+)?)(->(?P<channels>\d+))?(?P<linear> linear)?"
)
RELU_ZERO_POINT, LINEAR_ZERO_POINT = -128, 3
SPREAD = 1.0  # multipliers reach from 2^-SPREAD to 2^SPREAD of their mean: two or three shifts
OUTPUT_LEVELS = 40  # standard deviation of outputs
ACTIVATION_LEVELS, WEIGHT_LEVELS = 148, 74  # root mean squares of uniform values
ADD_SCALES, ADD_ZERO_POINTS = (0.041, 0.053, 0.061), (-128, 7, -128)


@dataclass(frozen=True)
class Layer:
    """What a name says."""

    kind: str
    shape: tuple[int, ...]  # (height, width, depth), or (depth,) of dense layers
    channels: int
    window: tuple[int, int]
    stride: int
    dilation: int
    groups: int
    is_linear: bool
    seed: int

    @staticmethod
    def parse(name: str) -> Layer:
        """Read a name."""
        found = NAME.fullmatch(name)
        assert found is not None, name
        shape = _numbers(found["shape"])
        whole = shape[:2] if found["kind"] == "avgpool" else (1, 1)
        window = _numbers(found["window"]) if found["window"] else whole
        return Layer(
            found["kind"],
            shape,
            int(found["channels"] or shape[-1]),
            (window[0], window[-1]),
            int(found["stride"] or 1),
            int(found["dilation"] or 1),
            int(found["groups"] or 1),
            bool(found["linear"]),
            zlib.crc32(name.encode()),
        )

    @property
    def data(self) -> TensorSpec:
        """The input."""
        return TensorSpec((1, *self.shape), "int8")

    def call(self) -> Any:
        """Return the layer as a call of the dialect; the same on every run."""
        return MAKERS[self.kind](self)

    def geometry(self) -> dict[str, Any]:
        """Return strides, SAME padding and dilation."""
        before, after = [], []
        is_whole = self.kind == "avgpool" and self.window == self.shape[:2]
        for size, window in zip(self.shape[:2], self.window, strict=True):
            reach = (-(-size // self.stride) - 1) * self.stride + (window - 1) * self.dilation + 1
            missing = 0 if is_whole else max(reach - size, 0)
            before.append(missing // 2)
            after.append(missing - missing // 2)
        return {
            "strides": (self.stride, self.stride),
            "padding": (*before, *after),
            "dilation": (self.dilation, self.dilation),
        }

    def requantization(self) -> dict[str, Any]:
        """Return zero points and clamp."""
        return {
            "input_zero_point": RELU_ZERO_POINT,
            "output_zero_point": LINEAR_ZERO_POINT if self.is_linear else RELU_ZERO_POINT,
            "clamp_min": numerics.INT8_MIN,
            "clamp_max": numerics.INT8_MAX,
        }

    def constants(self, *shape: int, taps: int) -> list[Array]:
        """Return weights of a shape, biases, multipliers and shifts."""
        generator = np.random.default_rng(self.seed)
        deviation = ACTIVATION_LEVELS * WEIGHT_LEVELS * np.sqrt(taps)
        reals = OUTPUT_LEVELS / deviation * 2.0 ** generator.uniform(-SPREAD, SPREAD, self.channels)
        multiplier, shift = numerics.quantize_multiplier(reals)
        bias = generator.normal(0, deviation / 2, self.channels).astype(np.int32)
        return [generator.integers(-127, 128, shape, np.int8), bias, multiplier, shift]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def _convolution(layer: Layer) -> Any:
    fields = layer.geometry() | layer.requantization()
    attrs = QConv2DAttributes(**fields, groups=layer.groups)
    shape = (*layer.window, layer.shape[-1] // layer.groups)
    constants = layer.constants(layer.channels, *shape, taps=int(np.prod(shape)))
    return call_of(QCONV2D, attrs, layer.data, *constants)


def _depthwise(layer: Layer) -> Any:
    attrs = QDepthwiseConv2DAttributes(**layer.geometry(), **layer.requantization())
    constants = layer.constants(*layer.window, layer.channels, taps=int(np.prod(layer.window)))
    return call_of(QDEPTHWISE_CONV2D, attrs, layer.data, *constants)


def _dense(layer: Layer) -> Any:
    depth = layer.shape[-1]
    attrs = QDenseAttributes(**layer.requantization())
    return call_of(QDENSE, attrs, layer.data, *layer.constants(layer.channels, depth, taps=depth))


def _pool(layer: Layer) -> Any:
    clamp: dict[str, Any] = {"clamp_min": numerics.INT8_MIN, "clamp_max": numerics.INT8_MAX}
    attrs = QPool2DAttributes(**layer.geometry(), size=layer.window, **clamp)
    return call_of(QAVG_POOL2D, attrs, layer.data)


def _add(layer: Layer) -> Any:
    return call_of(qadd.QADD, qadd.attributes(ADD_SCALES, ADD_ZERO_POINTS), layer.data, layer.data)


MAKERS: dict[str, Callable[[Layer], Any]] = {
    "conv": _convolution,
    "dw": _depthwise,
    "fc": _dense,
    "avgpool": _pool,
    "add": _add,
}
