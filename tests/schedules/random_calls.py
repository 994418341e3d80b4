"""Random convolutions that several test modules run: like those of networks, and unlike them."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes


def _tail(generator: np.random.Generator, channels: int, window: int) -> list[Any]:
    spread = generator.choice([0.0, 2.0])
    reals = 0.01 / np.sqrt(window) * 2.0 ** generator.uniform(-spread, spread, channels)
    bias = generator.integers(-5000, 5000, channels, np.int32)
    return [relax.const(array) for array in (bias, *numerics.quantize_multiplier(reals))]


def _requantization(generator: np.random.Generator) -> dict[str, Any]:
    is_clamped = generator.random() < 0.3
    return {
        "input_zero_point": int(generator.integers(-128, 128)),
        "output_zero_point": int(
            generator.choice([-128, -100, int(generator.integers(-128, 128))])
        ),
        "clamp_min": -100 if is_clamped else -128,
        "clamp_max": 90 if is_clamped else 127,
    }


def wide_conv_call(seed: int) -> Any:
    """A convolution like those of real networks: many channels, usual windows."""
    generator = np.random.default_rng(seed)
    depth, channels = (int(n) for n in generator.integers(1, 71, 2))
    kernel, stride = int(generator.choice([1, 1, 3, 5])), int(generator.choice([1, 2]))
    size = [int(n) for n in generator.integers(kernel, kernel + 7, 2)]
    pad = kernel // 2
    attrs = QConv2DAttributes(
        strides=(stride, stride),
        padding=(pad, int(generator.integers(0, pad + 1)), pad, pad),
        dilation=(1, 1),
        **_requantization(generator),
    )
    weight = generator.integers(-127, 128, (channels, kernel, kernel, depth), np.int8)
    data = relax.Var("x", relax.TensorType([1, *size, depth], "int8"))
    tail = _tail(generator, channels, weight[0].size)
    return QCONV2D(attrs, data, relax.const(weight), *tail)


def square_depthwise_call(seed: int) -> Any:
    """A depthwise convolution of the sizes and strides that have loops of their own."""
    generator = np.random.default_rng(seed)
    kernel, stride = (3, 5, 7)[seed % 3], (1, 2)[seed // 3 % 2]
    channels = int(generator.integers(1, 71))
    size = [int(n) for n in generator.integers(max(kernel - 2, 2), kernel + 9, 2)]
    pad = kernel // 2
    attrs = QDepthwiseConv2DAttributes(
        strides=(stride, stride),
        padding=(pad, pad - int(generator.integers(0, 2)), pad, pad),
        dilation=(1, 1),
        **_requantization(generator),
    )
    weight = generator.integers(-128, 128, (kernel, kernel, channels), np.int8)
    data = relax.Var("x", relax.TensorType([1, *size, channels], "int8"))
    tail = _tail(generator, channels, kernel * kernel)
    return QDEPTHWISE_CONV2D(attrs, data, relax.const(weight), *tail)


def coarse_call(seed: int) -> Any:
    """A convolution or depthwise one with small weights and scales around one, or fraction bits."""
    generator = np.random.default_rng(seed)
    channels, kernel = int(generator.integers(1, 21)), (1, 3, 5)[seed % 3]
    is_depthwise = bool(generator.random() < 0.5)
    fraction_bits = int(generator.choice([0, 0, 7]))
    pad = kernel // 2
    attributes = QDepthwiseConv2DAttributes if is_depthwise else QConv2DAttributes
    attrs = attributes(
        strides=(1, 1),
        padding=(pad, pad, pad, pad),
        dilation=(1, 1),
        fraction_bits=fraction_bits,
        **_requantization(generator),
    )
    window = (kernel, kernel, channels)
    shape = window if is_depthwise else (int(generator.integers(1, 21)), *window)
    weight = generator.integers(-2, 3, shape, np.int8)
    outputs = channels if is_depthwise else shape[0]
    reals = 2.0 ** generator.uniform(-3, 2, outputs) / 2.0**fraction_bits
    bias = generator.integers(-50, 50, outputs, np.int32) << fraction_bits
    tail = [relax.const(array) for array in (bias, *numerics.quantize_multiplier(reals))]
    size = [int(n) for n in generator.integers(kernel, kernel + 5, 2)]
    data = relax.Var("x", relax.TensorType([1, *size, channels], "int8"))
    operator = QDEPTHWISE_CONV2D if is_depthwise else QCONV2D
    return operator(attrs, data, relax.const(weight), *tail)
