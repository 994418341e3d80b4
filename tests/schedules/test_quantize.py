from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import Suite, call_of, inferred, needs_tflm
from tests.support import one_operator as one
from tests.support.kernels import Library
from tests.support.quick import quick_some
from tests.support.tflite_writer import Model, Operator, Tensor
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes

SCALES = (1.0, 0.5, 0.1, 0.0123, 1 / 256, 100.0)


def quantize_call(scale: float, zero_point: int) -> Any:
    attrs = QuantizeAttributes(float(np.float32(scale)), zero_point)
    return call_of(QUANTIZE, attrs, TensorSpec((3, 40), "float32"))


def halves_call(scale: float) -> Any:
    attrs = QuantizeAttributes(float(np.float32(scale)), 0)
    return call_of(QUANTIZE, attrs, TensorSpec(halves(scale).shape, "float32"))


def halves(scale: float) -> Any:
    """Return the floats around each half of a scale, of both signs, and around powers of two."""
    wholes = np.concatenate([np.arange(130), [2.0**k for k in range(-8, 40)]])
    middles = ((wholes + 0.5) * np.float32(scale)).astype(np.float32)
    steps = np.arange(-40, 41, dtype=np.int32)
    near = (middles.view(np.int32)[:, None] + steps).view(np.float32).reshape(-1)
    return np.concatenate([near, -near])


def quantize_model(scale: float, zero_point: int) -> Model:
    output = one.int8_tensor((3, 40), scale, zero_point, "output")
    tensors = (Tensor("input", (3, 40), "float32"), output)
    return Model(tensors, (Operator("QUANTIZE", (0,), (1,)),), (0,), (1,))


PARAMETERS = [*((scale, -3) for scale in SCALES), (0.1, -128), (0.1, 127)]
SUITE = Suite(
    models={f"{s} {z}": partial(quantize_model, s, z) for s, z in PARAMETERS},
    calls={
        **{f"call {s} {z}": partial(quantize_call, s, z) for s, z in PARAMETERS},
        **{f"halves of {s}": partial(halves_call, s) for s in (*SCALES, 3e-5, 0.7071)},
    },
)


@needs_tflm
@pytest.mark.parametrize("name", SUITE.models)
def test_meaning_is_tflm(name: str) -> None:
    SUITE.check_meaning(name)


@quick_some("name", SUITE.names, 6)
def test_kernel_is_meaning(name: str, library: Library) -> None:
    SUITE.check_kernel(library, name)


@pytest.mark.parametrize("name", [name for name in SUITE.calls if name.startswith("halves")])
def test_floats_around_each_half(name: str, library: Library) -> None:
    scale = float(name.split()[-1])
    values = halves(scale)
    expected = dialect.run_meaning(halves_call(scale), [values])
    for variant in ("portable", "fused", "integer"):
        (computed,) = library.run(f"{name}/0/{variant}", [[values]])
        np.testing.assert_array_equal(computed, expected, err_msg=variant)


def test_what_is_no_number(library: Library) -> None:
    """Its conversion is undefined in C; without floating point it is the largest, of any sign."""
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0xFF800000, 0x80000000])
    values = np.resize(bits.astype(np.uint32).view(np.float32), (3, 40))
    (computed,) = library.run("call 1.0 -3/0/integer", [[values]])
    assert computed.flat[:6].tolist() == [127, 127, 127, 127, -128, -3]


def test_type() -> None:
    assert inferred(quantize_call(1.0, 0)) == TensorSpec((3, 40), "int8")


EDGES = {
    0.5: 1, 1.5: 2, 2.5: 3, -0.5: -1, -2.5: -3, 0.49999997: 0, -0.49999997: 0, 126.5: 127,
    1e9: 127, -1e9: -128, np.inf: 127, -np.inf: -128, 3e38: 127, 1e-40: 0,
}  # fmt: skip


def test_halves_and_the_far_ends(library: Library) -> None:
    values = np.full((3, 40), 0.0, np.float32)
    values.flat[: len(EDGES)] = list(EDGES)
    expected = list(EDGES.values())
    meaning = dialect.run_meaning(quantize_call(1.0, 0), [values])
    assert meaning.flat[: len(EDGES)].tolist() == expected
    name = next(name for name in library.jobs if name.startswith("call 1.0 -3/"))
    (computed,) = library.run(name, [[values]])
    shifted = np.clip(np.array(expected) - 3, -128, 127)
    shifted[np.array(list(EDGES)) > 1e6] = 127
    np.testing.assert_array_equal(computed.flat[: len(EDGES)], shifted)
