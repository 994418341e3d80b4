"""Random operators of every kind on every class of core: firmware equals meaning, bit for bit.

Many operators side by side make one module, so that one firmware tests them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import IRModule, relax

from tests.schedules.test_qadd import add_call
from tests.schedules.test_qavg_pool2d import pool_call
from tests.schedules.test_qconv2d import conv_call
from tests.schedules.test_qdense import dense_call
from tests.schedules.test_qdepthwise_conv2d import depthwise_call
from tests.schedules.test_qmul import mul_call
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import TensorSpec, run_meaning, spec_of
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
OPERATORS_PER_FIRMWARE = 108
Maker = Callable[[int], Any]


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


MAKERS: tuple[Maker, ...] = (
    wide_conv_call,
    square_depthwise_call,
    coarse_call,
    conv_call,
    depthwise_call,
    dense_call,
    add_call,
    mul_call,
    pool_call,
)


def side_by_side(calls: list[Any]) -> tuple[IRModule, list[list[TensorSpec]]]:
    """Return a module of all calls, each with inputs of its own, and the inputs' specs by call."""
    builder = relax.BlockBuilder()
    parameters: list[list[Any]] = []
    for number, call in enumerate(calls):
        variables = [argument for argument in call.args if isinstance(argument, relax.Var)]
        parameters.append([relax.Var(f"x{number}_{i}", var.ty) for i, var in enumerate(variables)])
    with builder.function("main", [var for row in parameters for var in row]):
        with builder.dataflow():
            outputs = [
                builder.emit(_with_inputs(call, row))
                for call, row in zip(calls, parameters, strict=True)
            ]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    return builder.get(), [[spec_of(var) for var in row] for row in parameters]


def _with_inputs(call: Any, inputs: list[Any]) -> Any:
    given = iter(inputs)
    arguments = [next(given) if isinstance(a, relax.Var) else a for a in call.args]
    return relax.Call(call.op, arguments, call.attrs)


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_equals_meaning(core: str) -> None:
    first = 1000 * CORES.index(core)
    calls = [MAKERS[n % len(MAKERS)](first + n) for n in range(OPERATORS_PER_FIRMWARE)]
    module, specs = side_by_side(calls)
    firmware = build(module, core, name="many")
    generator = np.random.default_rng(first)
    inputs = [[generator.integers(-128, 128, spec.shape, np.int8) for spec in row] for row in specs]
    result = firmware.run([array for row in inputs for array in row])
    for number, (call, row) in enumerate(zip(calls, inputs, strict=True)):
        expected = run_meaning(call, row)
        assert np.array_equal(result.outputs[number], expected), (core, number, call.op.name)
