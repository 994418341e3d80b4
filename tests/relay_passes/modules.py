"""Build small modules, in QDQ form and in the integer dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, relax

from tests.support.evaluate_tiny import bindings, evaluate
from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.schedules.dialect import Array, spec_of
from tvm_tiny.schedules.lookup import DOMAIN, LOOKUP, LookupAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
Body = Callable[..., Any]
Scale = float | Sequence[float] | Array


def tensor(name: str, shape: Sequence[int], dtype: str = "int8") -> Any:
    """Return a parameter."""
    return relax.Var(name, relax.TensorType(list(shape), dtype))


def module(parameters: Sequence[Any], body: Body, source: str = "relax") -> tvm.IRModule:
    """Return a module whose `main` is `body(emit, *parameters)`; emit binds an expression."""
    builder = relax.BlockBuilder()
    with builder.function("main", list(parameters), attrs={"tiny.source": source}):
        with builder.dataflow():
            result = builder.emit_output(body(builder.emit, *parameters))
        builder.emit_func_output(result)
    return builder.finalize()


def nested(expr: Any, *parameters: Any, source: str = "relax") -> tvm.IRModule:
    """Return a module whose `main` computes one nested expression."""
    return module(parameters, lambda emit, *_: expr, source)


def quantized(data: Any, scale: float, zero_point: int = 0) -> Any:
    """Return quantize(data)."""
    return relax.op.quantize(data, *parameters_of(scale, zero_point), out_dtype="int8")


def real(data: Any, scale: Scale, zero_point: int = 0, axis: int = 0) -> Any:
    """Return dequantize(data); an array is a constant."""
    data = constant(data) if isinstance(data, np.ndarray) else data
    return relax.op.dequantize(data, *parameters_of(scale, zero_point), axis=axis)


def parameters_of(scale: Scale, zero_point: int) -> tuple[Any, Any]:
    return relax.const(np.array(scale, "float32")), relax.const(np.int32(zero_point), "int32")


def transposed(data: Any, axes: Sequence[int]) -> Any:
    """Return tiny.transpose."""
    return TRANSPOSE(TransposeAttributes(tuple(axes)), data)


def looked_up(data: Any, table: Array | None = None, name: str = "f") -> Any:
    """Return tiny.lookup, of x -> -x if no table is given."""
    table = np.clip(-DOMAIN, -128, 127) if table is None else table
    return LOOKUP(LookupAttributes(name), data, constant(table.astype(np.int8)))


def assert_equal(actual: tvm.IRModule, expected: tvm.IRModule) -> None:
    """Assert structural equality of `main` up to names of variables and layers."""
    pair = [_plain(m)["main"] for m in (actual, expected)]
    tvm.ir.assert_structural_equal(*pair, map_free_vars=True)


def _plain(mod: tvm.IRModule) -> tvm.IRModule:
    canonical = relax.transform.CanonicalizeBindings()(mod)
    return relax.transform.DeadCodeElimination()(canonical)


def is_unchanged(mod: tvm.IRModule, step: Any) -> bool:
    """Whether a pass leaves a module as it is."""
    return bool(tvm_ffi.structural_equal(_plain(step(mod))["main"], _plain(mod)["main"]))


def assert_same_values(before: tvm.IRModule, after: tvm.IRModule, seed: int = 0) -> None:
    """Assert that two modules of the dialect compute the same from random inputs."""
    generator = np.random.default_rng(seed)
    inputs = [_random(generator, parameter) for parameter in before["main"].params]
    for one, other in zip(evaluate(before, *inputs), evaluate(after, *inputs), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def _random(generator: np.random.Generator, parameter: Any) -> Array:
    spec = spec_of(parameter)
    if spec.dtype == "float32":
        return generator.normal(0, 1, spec.shape).astype("float32")
    return generator.integers(-128, 128, spec.shape, np.int8)


def only_call(mod: tvm.IRModule, name: str) -> Any:
    """Return the one call of an operator, by its full name."""
    found = [b.value for b in bindings(mod) if isinstance(b.value, ir.Call)]
    (call,) = [call for call in found if call.op.name == name]
    return call
