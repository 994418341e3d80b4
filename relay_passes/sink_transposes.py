"""SinkTransposes: layout changes move down the graph until they meet their inverse.

Importers of NCHW models leave transpose -> operator -> transpose around every convolution.
Operators that treat every element alike let a transpose pass; two that follow each other compose;
reductions and dense layers absorb one. What is left stands at the ends of the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass, Rule, apply_rules
from tvm_tiny.schedules.concat import CONCAT
from tvm_tiny.schedules.dialect import OPERATORS, attributes_of, spec_of
from tvm_tiny.schedules.qdense import QDENSE
from tvm_tiny.schedules.qmean import QMEAN
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes, moves_data

X, Y = wildcard(), wildcard()
TX, TY = is_op("tiny.transpose")(X), is_op("tiny.transpose")(Y)


def _axes(match: dict[Any, ir.Expr], pattern: Any = TX) -> tuple[int, ...]:
    axes: tuple[int, ...] = attributes_of(match[pattern]).axes
    return axes


def _transpose(data: ir.Expr, axes: tuple[int, ...]) -> ir.Expr:
    return TRANSPOSE(TransposeAttributes(axes), data)


def _compose(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    inner, outer = _axes(match), attributes_of(call).axes
    return _transpose(match[X], tuple(inner[axis] for axis in outer))


def _drop_identity(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    axes = attributes_of(call).axes
    return match[X] if axes == tuple(range(len(axes))) else call


def _to_reshape(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """A transpose that only moves extents of one changes no byte."""
    data = match[X]
    if moves_data(attributes_of(call), spec_of(data)):
        return call
    return relax.op.reshape(data, [int(d) for d in call.ty.shape])


def _through_unary(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    operator = OPERATORS[call.op.name]
    return _transpose(operator(attributes_of(call), match[X], *call.args[1:]), _axes(match))


def _through_binary(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    if _axes(match) != _axes(match, TY):
        return call
    operator = OPERATORS[call.op.name]
    return _transpose(operator(attributes_of(call), match[X], match[Y]), _axes(match))


def _through_floats(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """Two of one shape; what is added to rows or multiplies them is made for their order."""
    if spec_of(match[TX]).shape != spec_of(match[TY]).shape:
        return call
    return _through_binary(call, match)


def _through_one_number(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """A constant that all elements meet."""
    is_one = isinstance(match[Y], ir.GenericConst) and spec_of(match[Y]).elements == 1
    return _through_unary(call, match) if is_one else call


def _through_pad(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    attrs, axes = attributes_of(call), _axes(match)
    order = np.argsort(axes)
    before, after = (tuple(widths[i] for i in order) for widths in (attrs.before, attrs.after))
    operator = OPERATORS[call.op.name]
    return _transpose(operator(replace(attrs, before=before, after=after), match[X]), axes)


def _through_mean(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    attrs, axes = attributes_of(call), _axes(match)
    reduced = tuple(sorted(axes[axis] for axis in attrs.axes))
    if reduced != tuple(range(reduced[0], reduced[-1] + 1)):
        return call
    mean = QMEAN(replace(attrs, axes=reduced), match[X])
    if attrs.keep_dims:
        return _transpose(mean, axes)
    kept = [axis for axis in axes if axis not in reduced]
    ranks = {axis: rank for rank, axis in enumerate(sorted(kept))}
    return _transpose(mean, tuple(ranks[axis] for axis in kept))


def _through_concat(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    axes, attrs = _axes(match), attributes_of(call)
    if axes != _axes(match, TY):
        return call
    moved = CONCAT(replace(attrs, axis=axes[attrs.axis]), match[X], match[Y])
    return _transpose(moved, axes)


def _into_dense(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """dense(flatten(transpose(x))): the weights' columns change places instead."""
    axes, shape = _axes(match), spec_of(match[X]).shape
    flat = spec_of(call.args[0]).shape
    if axes[0] != 0 or len(flat) != 2 or flat[0] != shape[0]:
        return call
    weight = call.args[1].value.numpy()
    inner = [shape[axis] for axis in axes[1:]]
    moved = weight.reshape(len(weight), *inner).transpose(0, *(np.argsort(axes[1:]) + 1))
    columns = constant(moved.reshape(weight.shape))
    reshaped = relax.op.reshape(match[X], list(flat))
    return QDENSE(attributes_of(call), reshaped, columns, *call.args[2:])


def _through_reshape(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """reshape(transpose(x)) where no byte moves is reshape(x)."""
    transposed = match[TX]
    if moves_data(attributes_of(transposed), spec_of(match[X])):
        return call
    return relax.op.reshape(match[X], [int(d) for d in call.ty.shape])


def _merge_reshapes(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    shape = [int(d) for d in call.ty.shape]
    same = [int(d) for d in match[X].ty.shape] == shape
    return match[X] if same else relax.op.reshape(match[X], shape)


TABLE, CONSTANT = wildcard(), [wildcard() for _ in range(4)]
RULES: list[Rule] = [
    (is_op("tiny.transpose")(TX), _compose),
    (is_op("tiny.transpose")(X), _drop_identity),
    (is_op("tiny.lookup")(TX, TABLE), _through_unary),
    (is_op("tiny.quantize")(TX), _through_unary),
    (is_op("tiny.dequantize")(TX), _through_unary),
    (is_op("tiny.float_clip")(TX), _through_unary),
    (is_op("tiny.qadd")(TX, TY), _through_binary),
    (is_op("tiny.float_add")(TX, TY), _through_floats),
    (is_op("tiny.float_add")(TX, Y), _through_one_number),
    (is_op("tiny.float_mul")(TX, TY), _through_floats),
    (is_op("tiny.float_mul")(TX, Y), _through_one_number),
    (is_op("tiny.qmul")(TX, TY), _through_binary),
    (is_op("tiny.pad")(TX), _through_pad),
    (is_op("tiny.float_pad")(TX), _through_pad),
    (is_op("tiny.qmean")(TX), _through_mean),
    (is_op("tiny.concat")(TX, TY), _through_concat),
    (is_op("tiny.qdense")(is_op("relax.reshape")(TX, wildcard()), *CONSTANT), _into_dense),
]
LAST_RULES: list[Rule] = [
    (is_op("relax.reshape")(TX, wildcard()), _through_reshape),
    (is_op("tiny.transpose")(X), _to_reshape),
    (is_op("relax.reshape")(is_op("relax.reshape")(X, wildcard()), wildcard()), _merge_reshapes),
]


class SinkTransposes(GraphPass):
    """Apply the rules above; free transposes become reshapes only when none can cancel any more."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(apply_rules(module, RULES), LAST_RULES)
