"""What every element of every int8 tensor can be, whatever the inputs: interval arithmetic.

Every operator here is monotone in each of its operands, so its meaning at the ends of their
intervals gives the ends of its own. Bounds are exact per element: the border of a padded layer has
its own, and where both ends meet the value is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from tvm import ir, relax

from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import (
    OPERATORS,
    Array,
    arguments_of,
    attributes_of,
    operator_of,
    spec_of,
)
from tvm_tiny.schedules.lookup import DOMAIN
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes


@dataclass(frozen=True)
class Bounds:
    """Least and greatest value of every element, int8."""

    low: Array
    high: Array

    @staticmethod
    def of(*ends: Array) -> Bounds:
        """The hull of some values."""
        return Bounds(np.minimum.reduce(ends), np.maximum.reduce(ends))

    @property
    def known_channels(self) -> list[int]:
        """Channels no element of which depends on any input."""
        channels = self.low.shape[-1]
        is_known = (self.low == self.high).reshape(-1, channels).all(axis=0)
        return [int(channel) for channel in np.flatnonzero(is_known)]


def bounds_of(function: relax.Function) -> dict[ir.Var, Bounds]:
    """Bounds of every int8 variable of a function."""
    bounds: dict[ir.Var, Bounds] = {}
    for parameter in function.params:
        _bind(bounds, parameter, None)
    for block in function.body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, ir.Call):
                _bind(bounds, binding.var, binding.value)
            elif isinstance(binding.value, ir.Var) and binding.value in bounds:
                bounds[binding.var] = bounds[binding.value]
    return bounds


def _bind(bounds: dict[ir.Var, Bounds], var: ir.Var, call: ir.Call | None) -> None:
    spec = spec_of(var)
    if spec.dtype != "int8":
        return
    anything = Bounds(
        np.full(spec.shape, numerics.INT8_MIN, np.int8),
        np.full(spec.shape, numerics.INT8_MAX, np.int8),
    )
    rule = None if call is None else RULES.get(call.op.name)
    bounds[var] = anything
    if rule is not None and call is not None:
        operands = [bounds.get(a) for a in call.args if isinstance(a, ir.Var)]
        if None not in operands:
            bounds[var] = rule(call, *operands)


def _meaning(call: ir.Call, given: tuple[Array, ...]) -> Array:
    """An operator's value for its run-time operands, or those operands reshaped."""
    if operator_of(call) is None:
        return given[0].reshape(spec_of(call).shape)
    values, run_time = arguments_of(call), iter(given)
    values = [v if isinstance(v, np.ndarray) else next(run_time) for v in values]
    return OPERATORS[call.op.name].meaning(attributes_of(call), *values)


def _rising(call: ir.Call, *operands: Bounds) -> Bounds:
    """No operand's growth lets the result fall."""
    ends = [tuple(o.low for o in operands), tuple(o.high for o in operands)]
    return Bounds.of(*(_meaning(call, end) for end in ends))


def _corners(call: ir.Call, *operands: Bounds) -> Bounds:
    """Each operand alone moves the result one way, which way depends on the others."""
    corners = product(*((operand.low, operand.high) for operand in operands))
    return Bounds.of(*(_meaning(call, corner) for corner in corners))


def _lookup(call: ir.Call, data: Bounds) -> Bounds:
    table = call.args[1].value.numpy()
    is_reached = DOMAIN[:, None] <= DOMAIN
    least, greatest = (
        ufunc.accumulate(np.where(is_reached, table, end), axis=1).astype(np.int8)
        for ufunc, end in ((np.minimum, numerics.INT8_MAX), (np.maximum, numerics.INT8_MIN))
    )  # [i, j]: of the entries from i to j
    ends = data.low.astype(np.int64) + 128, data.high.astype(np.int64) + 128
    return Bounds(least[ends], greatest[ends])


def _convolution(call: ir.Call, data: Bounds) -> Bounds:
    attrs, (weight, *tail) = attributes_of(call), arguments_of(call)[1:]
    return _sums(QCONV2D.meaning, attrs, data, weight, tail, attrs.groups)


def _depthwise(call: ir.Call, data: Bounds) -> Bounds:
    """A convolution with as many groups as channels."""
    weight, *tail = arguments_of(call)[1:]
    assert isinstance(weight, np.ndarray)
    groups, filters = data.low.shape[-1], np.moveaxis(weight, -1, 0)[..., np.newaxis]
    attrs = QConv2DAttributes(**asdict(attributes_of(call)), groups=groups)
    return _sums(QCONV2D.meaning, attrs, data, filters, tail, groups)


def _dense(call: ir.Call, data: Bounds) -> Bounds:
    weight, *tail = arguments_of(call)[1:]
    return _sums(OPERATORS[call.op.name].meaning, attributes_of(call), data, weight, tail, 1)


def _sums(
    meaning: Callable[..., Array], attrs: Any, data: Bounds, weight: Any, tail: Any, groups: int
) -> Bounds:
    """Sums of products are least where positive weights meet least and negative greatest values.

    The operator's own meaning computes both: over twice the channels, one copy for each sign.
    """
    signs = np.concatenate([np.maximum(weight, 0), np.minimum(weight, 0)], axis=-1)
    ends = [(data.low, data.high), (data.high, data.low)]
    return Bounds.of(*(meaning(attrs, _side_by_side(end, groups), signs, *tail) for end in ends))


def _side_by_side(arrays: tuple[Array, Array], groups: int) -> Array:
    """Channels of two tensors, group by group."""
    lead = arrays[0].shape[:-1]
    both = np.concatenate([array.reshape(*lead, groups, -1) for array in arrays], axis=-1)
    return both.reshape(*lead, -1)


RULES: dict[str, Callable[..., Bounds]] = {
    "tiny.qconv2d": _convolution,
    "tiny.qdepthwise_conv2d": _depthwise,
    "tiny.qdense": _dense,
    "tiny.qadd": _corners,
    "tiny.qmul": _corners,
    "tiny.qavg_pool2d": _rising,
    "tiny.qmax_pool2d": _rising,
    "tiny.qmean": _rising,
    "tiny.concat": _rising,
    "tiny.pad": _rising,
    "tiny.resize": _rising,
    "tiny.transpose": _rising,
    "relax.reshape": _rising,
    "tiny.lookup": _lookup,
}
