"""Calls of the forward operators of training, and inputs that reach their ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.calls import call_of
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.dialect import Array, TensorSpec
from tvm_tiny.schedules.qconv2d import QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDepthwiseConv2DAttributes
from tvm_tiny.schedules.training.in_range import IN_RANGE
from tvm_tiny.schedules.training.truncate import TRUNCATE, ClampAttributes
from tvm_tiny.schedules.training.wide_add import WIDE_ADD
from tvm_tiny.schedules.training.wide_conv2d import WIDE_CONV2D
from tvm_tiny.schedules.training.wide_depthwise_conv2d import WIDE_DEPTHWISE_CONV2D
from tvm_tiny.schedules.training.wide_mul import WIDE_MUL

# (height, width, channels), window, outputs, stride, padding on all sides, dilation, groups
CONVOLUTIONS: dict[str, tuple[Any, ...]] = {
    "pointwise": ((4, 4, 24), (1, 1), 9, 1, 0, 1, 1),
    "pointwise, deep": ((1, 7, 260), (1, 1), 5, 1, 0, 1, 1),
    "pointwise, odd depth": ((3, 5, 7), (1, 1), 3, 1, 0, 1, 1),
    "one pixel": ((1, 1, 96), (1, 1), 13, 1, 0, 1, 1),
    "two pixels": ((1, 2, 10), (1, 1), 6, 1, 0, 1, 1),
    "three pixels": ((3, 1, 12), (1, 1), 6, 1, 0, 1, 1),
    "five pixels": ((5, 1, 8), (1, 1), 6, 1, 0, 1, 1),
    "one channel": ((7, 1, 1), (1, 1), 2, 1, 0, 1, 1),
    "pointwise, strided": ((5, 6, 12), (1, 1), 4, 2, 0, 1, 1),
    "pointwise, padded": ((3, 4, 8), (1, 1), 4, 1, 1, 1, 1),
    "3x3": ((5, 6, 8), (3, 3), 5, 1, 1, 1, 1),
    "3x3, odd depth": ((5, 6, 3), (3, 3), 5, 1, 1, 1, 1),
    "3x3 stride 2": ((7, 8, 4), (3, 3), 4, 2, 1, 1, 1),
    "2x3 stride 3": ((9, 8, 5), (2, 3), 4, 3, 0, 1, 1),
    "dilated": ((7, 9, 6), (3, 3), 3, 1, 2, 2, 1),
    "groups": ((5, 4, 12), (3, 3), 9, 1, 1, 1, 3),
    "groups of one": ((5, 4, 4), (3, 3), 8, 2, 1, 1, 4),
    "larger than the image": ((2, 3, 4), (5, 5), 4, 1, 2, 1, 1),
}
# (height, width, channels), window, stride, padding (top, left, bottom, right), dilation, outputs
# of each channel
DEPTHWISE: dict[str, tuple[Any, ...]] = {
    f"{k}x{k} stride {stride}, {size[0]}x{size[1]}x{size[2]}": (
        size,
        (k, k),
        stride,
        ((k - 1) // 2, (k - 1) // 2, k // 2, k // 2),
        1,
        1,
    )
    for k, stride, size in itertools.product((3, 5, 7), (1, 2), ((4, 4, 8), (8, 8, 4), (5, 9, 7)))
} | {
    "no border": ((9, 9, 4), (3, 3), 1, (0, 0, 0, 0), 1, 1),
    "no border, one row": ((3, 12, 5), (3, 3), 2, (0, 0, 0, 0), 1, 1),
    "uneven border": ((8, 8, 4), (7, 7), 2, (2, 2, 3, 3), 1, 1),
    "uneven border, 3x3": ((8, 7, 6), (3, 3), 2, (0, 1, 1, 0), 1, 1),
    "stride 3": ((9, 11, 5), (3, 3), 3, (1, 1, 1, 1), 1, 1),
    "dilated": ((9, 9, 5), (3, 3), 1, (2, 2, 2, 2), 2, 1),
    "2x4": ((6, 5, 6), (2, 4), 1, (1, 1, 0, 2), 1, 1),
    "1x5": ((3, 9, 4), (1, 5), 1, (0, 2, 0, 2), 1, 1),
    "one pixel": ((1, 1, 6), (3, 3), 1, (1, 1, 1, 1), 1, 1),
    "3x3 window of 2x2": ((2, 2, 9), (3, 3), 1, (1, 1, 1, 1), 1, 1),
    "two of a channel": ((5, 4, 3), (3, 3), 1, (1, 1, 1, 1), 1, 2),
    "three of a channel": ((5, 4, 2), (5, 5), 2, (2, 2, 2, 2), 1, 3),
    "large": ((30, 41, 3), (3, 3), 1, (1, 1, 1, 1), 1, 1),
    "large, wide windows": ((25, 20, 6), (7, 7), 2, (3, 3, 3, 3), 1, 1),
}
INT32_ENDS = (-(1 << 31), -(1 << 30) - 1, -(1 << 30), (1 << 30) - 1, 1 << 30, (1 << 31) - 1)
INT16_ENDS = (-32768, -32767, -129, -128, -127, -31, -30, 0, 40, 41, 127, 128, 32767)
CLAMPS = ((-128, 127), (-30, 40), (-128, -128), (5, 127))


def common(generator: np.random.Generator, fraction_bits: int) -> dict[str, Any]:
    """Return attributes of both convolutions."""
    zero_points = [int(generator.choice([-128, -3, 11, 127])) for _ in range(2)]
    return {
        "input_zero_point": zero_points[0],
        "output_zero_point": zero_points[1],
        "clamp_min": -128,
        "clamp_max": 127,
        "fraction_bits": fraction_bits,
    }


def numbers(
    generator: np.random.Generator, shape: Sequence[int], channels: int, spread: float
) -> list[Array]:
    """Return weights, biases, multipliers and shifts."""
    weight = generator.integers(-128, 128, shape, np.int8)
    taps = weight.size // channels
    bias = generator.integers(-5000, 5000, channels, np.int32)
    reals = 0.02 / np.sqrt(taps) * 2.0 ** generator.uniform(-spread, spread, channels)
    return [weight, bias, *numerics.quantize_multiplier(reals)]


def as_state(values: list[Array], is_state: bool) -> list[TensorSpec | Array]:
    """Return weights and biases as run-time tensors, or as they are."""
    kept = [TensorSpec(v.shape, str(v.dtype)) if is_state else v for v in values[:2]]
    return [*kept, *values[2:]]


def convolution(
    name: str, seed: int, *, is_state: bool, spread: float = 1.0, fraction_bits: int = 0
) -> Any:
    """Return a call of tiny.wide_conv2d."""
    size, window, outputs, stride, border, dilation, groups = CONVOLUTIONS[name]
    generator = np.random.default_rng(seed)
    attrs = QConv2DAttributes(
        **common(generator, fraction_bits),
        strides=(stride, stride),
        padding=(border,) * 4,
        dilation=(dilation, dilation),
        groups=groups,
    )
    values = numbers(generator, (outputs, *window, size[2] // groups), outputs, spread)
    return call_of(WIDE_CONV2D, attrs, TensorSpec((1, *size), "int8"), *as_state(values, is_state))


def depthwise(
    name: str, seed: int, *, is_state: bool, spread: float = 1.0, fraction_bits: int = 0
) -> Any:
    """Return a call of tiny.wide_depthwise_conv2d."""
    size, window, stride, padding, dilation, per_input = DEPTHWISE[name]
    generator = np.random.default_rng(seed)
    attrs = QDepthwiseConv2DAttributes(
        **common(generator, fraction_bits),
        strides=(stride, stride),
        padding=padding,
        dilation=(dilation, dilation),
    )
    channels = size[2] * per_input
    values = numbers(generator, (*window, channels), channels, spread)
    data = TensorSpec((1, *size), "int8")
    return call_of(WIDE_DEPTHWISE_CONV2D, attrs, data, *as_state(values, is_state))


def elementwise_calls() -> dict[str, Any]:
    """Return sums, products, truncations and masks."""
    spec = TensorSpec((1, 3, 5, 7), "int8")
    found: dict[str, Any] = {}
    for number, scales in enumerate([(0.043, 0.061, 0.077), (0.05, 0.5, 0.001), (0.5, 0.25, 0.5)]):
        points = [(-4, 17, 3), (-128, 127, -128), (3, -9, 127)][number]
        for sign in (1, -1):
            attrs = qadd.attributes(scales, points, sign)
            found[f"add {number} {sign}"] = call_of(WIDE_ADD, attrs, spec, spec)
    for number, scales in enumerate([(0.043, 0.0039, 0.031), (0.05, 0.5, 0.001), (1.0, 1.0, 2.0)]):
        points = [(-4, -128, 3), (5, 9, -7), (0, 0, 127)][number]
        found[f"mul {number}"] = call_of(WIDE_MUL, qmul.attributes(scales, points), spec, spec)
    for (low, high), count in itertools.product(CLAMPS, (1, 7, 16, 301)):
        wide, clamp = TensorSpec((count,), "int16"), ClampAttributes(low, high)
        found[f"truncate {low} {high} {count}"] = call_of(TRUNCATE, clamp, wide)
        found[f"in range {low} {high} {count}"] = call_of(IN_RANGE, clamp, wide)
    return found


def every_call() -> dict[str, Any]:
    """Return calls by name: all shapes with weights as state or not, in turn, and all roundings."""
    found = elementwise_calls()
    for make, table in ((convolution, CONVOLUTIONS), (depthwise, DEPTHWISE)):
        for seed, name in enumerate(table):
            kind = f"{make.__name__} {name}"
            for is_state in (True, False):
                found[f"{kind}, state {is_state}"] = make(name, seed, is_state=is_state)
            found[f"{kind}, spread"] = make(name, seed + 100, is_state=True, spread=25.0)
            found[f"{kind}, rounded once"] = make(
                name, seed + 200, is_state=True, spread=3.0, fraction_bits=7
            )
    return found


def samples(specs: Sequence[TensorSpec], seed: int) -> list[list[Array]]:
    """Return inputs at random, the same with the ends of each type among them, and ends alone."""
    generator = np.random.default_rng(seed)
    usual = [_usual(generator, spec) for spec in specs]
    mixed = [_with_ends(generator, spec) for spec in specs]
    lowest = [np.full(s.shape, -128 if s.dtype == "int8" else -(1 << 15), s.dtype) for s in specs]
    opposite = [value.copy() for value in lowest]
    opposite[0][:] = 127
    return [usual, mixed, lowest, opposite]


def _usual(generator: np.random.Generator, spec: TensorSpec) -> Array:
    reach = {"int8": 128, "int16": 300, "int32": 5000}[spec.dtype]
    return generator.integers(-reach, reach, spec.shape).astype(spec.dtype)


def _with_ends(generator: np.random.Generator, spec: TensorSpec) -> Array:
    ends = {"int8": (-128, 127), "int16": INT16_ENDS, "int32": INT32_ENDS}[spec.dtype]
    chosen = generator.choice(ends, spec.shape).astype(spec.dtype)
    keeps = generator.random(spec.shape) < (0.5 if spec.dtype == "int32" else 0.1)
    return np.where(keeps, _usual(generator, spec), chosen)
