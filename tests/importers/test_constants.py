from collections.abc import Callable

import numpy as np
import pytest
from tvm import relax

from tvm_tiny.importers.constants import constant, constant_value, fold

VALUES = np.arange(24, dtype=np.int8).reshape(2, 3, 4)


def dequantized(scales: int, axis: int) -> relax.Expr:
    scale = np.linspace(0.1, 1, scales, dtype=np.float32)
    zero_point = relax.const(0, "int32")
    return relax.op.dequantize(constant(VALUES), constant(scale), zero_point, axis=axis)


@pytest.mark.parametrize(
    ("change", "axis", "new_axis"),
    [
        (lambda value: relax.op.permute_dims(value, [2, 0, 1]), 2, 0),
        (lambda value: relax.op.permute_dims(value), 0, 2),
        (lambda value: relax.op.reshape(value, (1, 2, 3, 4, 1)), 1, 2),
        (lambda value: relax.op.reshape(value, (6, 4)), 2, 1),
        (lambda value: relax.op.expand_dims(value, 0), 0, 1),
    ],
)
def test_a_layout_change_moves_into_the_constant(
    change: Callable[[relax.Expr], relax.Expr], axis: int, new_axis: int
) -> None:
    source = dequantized(VALUES.shape[axis], axis)
    var = relax.Var("w", relax.TensorType(VALUES.shape, "float32"))
    call = fold(change(var), {var: source})
    assert call.op.name == "relax.dequantize"
    assert call.attrs.axis == new_axis
    assert constant_value(call.args[0]).shape[new_axis] == VALUES.shape[axis]
    direct = fold(change(constant(VALUES)), {})
    np.testing.assert_array_equal(constant_value(direct), constant_value(call.args[0]))


def test_a_reshape_that_splits_the_channels_is_left() -> None:
    var = relax.Var("w", relax.TensorType(VALUES.shape, "float32"))
    call = relax.op.reshape(var, (2, 12))
    assert fold(call, {var: dequantized(3, 1)}).same_as(call)


def test_what_is_computed_at_run_time_is_left() -> None:
    var = relax.Var("x", relax.TensorType(VALUES.shape, "float32"))
    for call in (relax.op.permute_dims(var), relax.op.add(var, var)):
        assert fold(call, {}).same_as(call)


def test_scales_and_zero_points_are_written_in_one_way() -> None:
    var = relax.Var("x", relax.TensorType((2, 3), "float32"))
    scale, zero_point = constant(np.array([0.5], np.float32)), constant(np.array([7], np.uint8))
    call = fold(relax.op.quantize(var, scale, zero_point, axis=1, out_dtype="uint8"), {})
    assert (call.args[1].ty.ndim, call.args[2].ty.ndim, call.attrs.axis) == (0, 0, 0)
    assert (call.args[2].ty.dtype, call.attrs.out_dtype) == ("int32", "uint8")


def test_arithmetic_of_constants() -> None:
    two, three = constant(np.array(2, np.float32)), constant(np.array([3], np.float32))
    assert constant_value(fold(relax.op.multiply(two, three), {})).tolist() == [6]
