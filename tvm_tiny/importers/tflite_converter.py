"""TVM's TFLite operator converter, with the operators that it gets wrong for int8 written anew.

Integers come out as TFLite Micro computes them: fused activations are clips on the int8 result,
operators that move elements work on integers, and average pooling rounds in its quantize.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import tflite
from tvm import relax
from tvm.relax.frontend.tflite.tflite_frontend import (
    ExprTable,
    OperatorConverter,
    TensorWrapper,
    get_pad_value,
)

from tvm_tiny.errors import Problem
from tvm_tiny.importers.constants import is_call
from tvm_tiny.importers.forms import hard_swish
from tvm_tiny.importers.problems import UNSUPPORTED, reason_of
from tvm_tiny.importers.tflite_reader import TfliteFile, TfliteOperator

INT8_MIN, INT8_MAX = -128, 127
ACTIVATION_BOUNDS: dict[int, tuple[float | None, float | None]] = {
    tflite.ActivationFunctionType.NONE: (None, None),
    tflite.ActivationFunctionType.RELU: (0.0, None),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
}


class TinyOperatorConverter(OperatorConverter):
    """Converts every operator it can, and keeps a list of those that failed."""

    def __init__(self, file: TfliteFile, builder: relax.BlockBuilder) -> None:
        """Prepare to convert the operators of `file` into the builder's dataflow block."""
        super().__init__(file.root, file.subgraph, ExprTable(), builder)
        self.file = file
        self.broken: list[Problem] = []
        self.unsupported: list[Problem] = []
        self.values: dict[int, relax.Expr] = {}

    # --- driver ---------------------------------------------------------------------------

    def convert_all(self) -> None:
        """Convert every operator; one that fails is noted and replaced by a free variable."""
        for operator in self.file.operators:
            try:
                self._convert(operator)
            except UNSUPPORTED as error:
                self._fail(operator, self.unsupported, error)
            except Exception as error:
                self._fail(operator, self.broken, error)

    def _convert(self, operator: TfliteOperator) -> None:
        convert = self.convert_map.get(operator.name)
        if convert is None:
            raise NotImplementedError("the operator is not supported")
        result = self._without_reshape(convert(op=self.subgraph.Operators(operator.index)))
        result = self.bb.emit(result)
        many = isinstance(result.ty, relax.TupleType)
        parts = (
            [self.bb.emit(result[i]) for i in range(len(result.ty.fields))] if many else [result]
        )
        for index, part in zip(operator.outputs, parts, strict=True):
            self._check_type(index, part)
            self.values[index] = part

    def _without_reshape(self, result: relax.Expr) -> relax.Expr:
        """Drop a reshape to the same shape, which TVM puts behind slices."""
        if not is_call(result, "relax.reshape"):
            return result
        value = self.bb.normalize(result.args[0])
        is_same = list(value.ty.shape) == list(self.bb.normalize(result).ty.shape)
        return value if is_same and not isinstance(value, relax.Var) else result

    def _check_type(self, index: int, value: relax.Expr) -> None:
        tensor = self.file.tensors[index]
        shape = tuple(int(extent) for extent in value.ty.shape)
        if tensor.shape and shape != tensor.shape:
            raise ValueError(f"{tensor.where} has shape {list(tensor.shape)}, computed {shape}")
        if str(value.ty.dtype) != tensor.dtype:
            raise ValueError(f"{tensor.where} is {tensor.dtype}, computed {value.ty.dtype}")

    def _fail(
        self, operator: TfliteOperator, problems: list[Problem], error: BaseException
    ) -> None:
        where = operator.where
        if operator.outputs:
            where += f" (output {self.file.tensors[operator.outputs[0]].where})"
        problems.append(Problem(where, reason_of(error)))
        for index in operator.outputs:
            self.values[index] = self.parameter(index)

    def parameter(self, index: int) -> relax.Var:
        """Return a variable of a tensor's declared type."""
        tensor = self.file.tensors[index]
        return relax.Var(tensor.name, relax.TensorType(tensor.shape, tensor.dtype))

    # --- tensors by index: names in files need not be unique --------------------------------

    def get_expr(self, index: int) -> relax.Expr:
        """Return the value of a tensor, computed or constant."""
        if index in self.values:
            return self.values[index]
        return self.get_tensor_expr(self.get_tensors([index])[0])

    def has_expr(self, index: int) -> bool:
        """Tell whether a tensor has been computed or is an input."""
        return index in self.values

    def get_input_tensors(self, op: Any) -> list[TensorWrapper]:
        """Return an operator's inputs, without absent optional ones at the end."""
        tensors = super().get_input_tensors(op)
        while tensors and tensors[-1].tensor_idx < 0:
            tensors.pop()
        return cast(list[TensorWrapper], tensors)

    def get_tensors(self, indices: Sequence[int]) -> list[TensorWrapper]:
        """Return tensors whose quantisation is right where TVM's is not.

        Float tensors have none, and the channel axis of a single scale means nothing.
        """
        wrappers = super().get_tensors([int(index) for index in indices])
        for wrapper in wrappers:
            parameters = wrapper.qnn_params
            if parameters and self.file.tensors[wrapper.tensor_idx].dtype.startswith("float"):
                wrapper.qnn_params = None
            elif parameters and parameters["scale"].ty.ndim == 0:
                parameters["axis"] = 0
        return cast(list[TensorWrapper], wrappers)

    def has_same_qnn_params(self, left: TensorWrapper, right: TensorWrapper) -> bool:
        """Let operators that move integers run whatever the scales say, as TFLite Micro does."""
        return True

    # --- fused activations ------------------------------------------------------------------

    def convert_qnn_fused_activation_function(
        self, expr: relax.Expr, fused_activation_fn: int, scale: float, zero_point: int, dtype: str
    ) -> relax.Expr:
        """Clip the integers as TFLite Micro does: bounds rounded half away from zero."""
        if fused_activation_fn not in ACTIVATION_BOUNDS:
            name = self.activation_fn_type.get(fused_activation_fn, fused_activation_fn)
            raise NotImplementedError(f"fused activation {name} on quantised tensors")
        low, high = (
            None if bound is None else quantised_bound(bound, scale, zero_point)
            for bound in ACTIVATION_BOUNDS[fused_activation_fn]
        )
        lowest = INT8_MIN if low is None else low
        highest = INT8_MAX if high is None else high
        if (lowest, highest) == (INT8_MIN, INT8_MAX):
            return expr
        return relax.op.clip(expr, lowest, highest)

    def _activate(self, value: relax.Expr, activation: int, out: TensorWrapper) -> relax.Expr:
        """Apply a fused activation to a float result or, after its quantize, to an int8 one."""
        if not out.qnn_params:
            return self.convert_fused_activation_function(value, activation)
        scale = out.qnn_params["scale"].value.numpy().item()
        zero_point = out.qnn_params["zero_point"].value.numpy().item()
        quantised = self.quantize(value, out)
        return self.convert_qnn_fused_activation_function(
            quantised, activation, scale, zero_point, "int8"
        )

    def _real(self, tensor: TensorWrapper) -> relax.Expr:
        """Return the real numbers that a tensor stands for."""
        value = self.get_tensor_expr(tensor)
        return self.dequantize(value, tensor) if tensor.qnn_params else value

    def _options(self, op: Any, kind: Callable[[], Any]) -> Any:
        options, table = kind(), op.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _activation(self, op: Any, kind: Callable[[], Any] | None) -> int:
        """Return the fused activation; operators without options, or absent ones, have none."""
        if not hasattr(kind, "FusedActivationFunction") or op.BuiltinOptions() is None:
            return 0
        return int(self._options(op, cast(Any, kind)).FusedActivationFunction())

    # --- operators --------------------------------------------------------------------------

    def _convert_elemwise(
        self, op: Any, relax_op: Callable[..., relax.Expr], comparison_op: bool = False
    ) -> relax.Expr:
        """Convert two-input operators; TVM clips before the quantize, TFLite after."""
        options_kind = getattr(tflite, f"{self.get_op_code_str(op).title()}Options", None)
        activation = self._activation(op, options_kind)
        left, right = self.get_input_tensors(op)
        result = relax_op(self._real(left), self._real(right))
        if comparison_op:
            return result
        return self._activate(result, activation, self.get_output_tensors(op)[0])

    def convert_reshape(self, op: Any) -> relax.Expr:
        """Copy the elements, whatever the scales; the output's own shape is the target."""
        out = self.get_output_tensors(op)[0].tensor_idx
        value = self.get_expr(self.get_input_tensors(op)[0].tensor_idx)
        shape = self.file.tensors[out].shape or super().convert_reshape(op).args[1]
        return relax.op.reshape(value, shape)

    convert_squeeze = convert_reshape
    convert_expand_dims = convert_reshape

    def convert_pad(self, op: Any) -> relax.Expr:
        """Pad integers with the zero point, or with the integer that PADV2 gives."""
        tensors = self.get_input_tensors(op)
        data, widths = tensors[:2]
        value: float = 0
        if data.qnn_params:
            value = data.qnn_params["zero_point"].value.numpy().item()
        if len(tensors) > 2:
            value = self.get_tensor_value(tensors[2]).reshape(-1)[0].item()
        pad_width = [int(width) for width in self.get_tensor_value(widths).reshape(-1)]
        return relax.op.nn.pad(self.get_tensor_expr(data), pad_width, pad_value=value)

    def convert_pool2d(self, op: Any, pool_type: str) -> relax.Expr:
        """Average int8 in real numbers: TVM's integer division truncates.

        Both scales are the input's, since TFLite Micro averages the integers as they are.
        """
        data, out = self.get_input_tensors(op)[0], self.get_output_tensors(op)[0]
        if pool_type != "average" or not data.qnn_params:
            return super().convert_pool2d(op, pool_type)
        options = self._options(op, tflite.Pool2DOptions)
        size = (options.FilterHeight(), options.FilterWidth())
        strides = (options.StrideH(), options.StrideW())
        average = relax.op.nn.avg_pool2d(
            self._real(data),
            pool_size=size,
            strides=strides,
            padding=self._padding(data, size, strides, options.Padding()),
            count_include_pad=False,
            layout="NHWC",
        )
        out.qnn_params = data.qnn_params
        return self._activate(average, options.FusedActivationFunction(), out)

    def _padding(
        self, data: TensorWrapper, size: Sequence[int], strides: Sequence[int], kind: int
    ) -> list[int]:
        """Return the padding of an NHWC window as top, left, bottom, right."""
        if kind == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        extents = self.file.tensors[data.tensor_idx].shape[1:3]
        (top, bottom), (left, right) = map(get_pad_value, extents, size, strides)
        return [top, left, bottom, right]

    def convert_fully_connected(self, op: Any) -> relax.Expr:
        """Multiply matrices: the input flattened to [-1, k], as TFLite Micro reads it."""
        data, weights, *bias = self.get_input_tensors(op)
        out = self.get_output_tensors(op)[0]
        units, depth = self.file.tensors[weights.tensor_idx].shape
        value = self.get_tensor_expr(data)
        rows = math.prod(self.file.tensors[data.tensor_idx].shape) // depth
        if tuple(value.ty.shape) != (rows, depth):
            value = relax.op.reshape(value, (rows, depth))
        real = self.dequantize(value, data) if data.qnn_params else value
        result = relax.op.matmul(real, relax.op.permute_dims(self._real(weights), (1, 0)))
        if bias:
            result = relax.op.add(result, self._bias(bias[0], data, weights))
        options = self._options(op, tflite.FullyConnectedOptions)
        result = self._activate(result, options.FusedActivationFunction(), out)
        shape = self.file.tensors[out.tensor_idx].shape
        return relax.op.reshape(result, shape) if shape not in ((), (rows, units)) else result

    def convert_hard_swish(self, op: Any) -> relax.Expr:
        """Convert to the form that all sources share."""
        result = hard_swish(self._real(self.get_input_tensors(op)[0]))
        return self._activate(result, 0, self.get_output_tensors(op)[0])

    def _bias(self, bias: TensorWrapper, data: TensorWrapper, weights: TensorWrapper) -> relax.Expr:
        """Return the real bias; without a scale of its own it has the product of the others."""
        if not data.qnn_params or bias.qnn_params:
            return self._real(bias)
        scales = [tensor.qnn_params["scale"].value.numpy() for tensor in (data, weights)]
        scale = relax.const(np.multiply(*scales, dtype=np.float32))
        zero_point = relax.const(0, "int32")
        return relax.op.dequantize(self.get_tensor_expr(bias), scale, zero_point, axis=0)


def quantised_bound(bound: float, scale: float, zero_point: int) -> int:
    """Return an activation's bound as int8, in float32 as TFLite Micro computes it."""
    ratio = float(np.float32(bound) / np.float32(scale))
    rounded = zero_point + math.floor(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1)
    return max(INT8_MIN, min(INT8_MAX, rounded))
