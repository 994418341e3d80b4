"""Random operators of every kind on every class of core: firmware equals meaning, bit for bit.

Many operators side by side make one module, so that one firmware tests them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import IRModule, relax

from tests.schedules.random_calls import coarse_call, square_depthwise_call, wide_conv_call
from tests.schedules.test_qadd import add_call
from tests.schedules.test_qavg_pool2d import pool_call
from tests.schedules.test_qconv2d import conv_call
from tests.schedules.test_qdense import dense_call
from tests.schedules.test_qdepthwise_conv2d import depthwise_call
from tests.schedules.test_qmul import mul_call
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules.dialect import TensorSpec, run_meaning, spec_of

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
OPERATORS_PER_FIRMWARE = 108
Maker = Callable[[int], Any]


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
