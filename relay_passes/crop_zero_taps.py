"""CropZeroTaps: rows and columns of zeros around a window leave it, and its padding with them.

A tap is zero if its weights are, for every channel. Exact: the window's first tap that is left
reads the same input as before, because the padding shrinks by as much as the window. Windows that
are not padded stay: they would need a shifted input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import ir
from tvm.relax.dpl import is_op, wildcard

from tvm_tiny.relay_passes._quantized import constant
from tvm_tiny.relay_passes._rewrite import GraphPass, apply_rules
from tvm_tiny.schedules.dialect import OPERATORS, Array, attributes_of
from tvm_tiny.schedules.window import WindowAttributes

Sides = tuple[int, int, int, int]  # top, left, bottom, right


def _crop_convolution(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    weight = call.args[1].value.numpy()
    sides = _zero_sides(weight.any(axis=(0, 3)), attributes_of(call))
    return _cropped(call, sides, weight[(slice(None), *_inside(weight.shape[1:3], sides))])


def _crop_depthwise(call: ir.Call, match: dict[Any, ir.Expr]) -> ir.Expr:
    """Only whole rings: the fast kernels are for square windows."""
    weight = call.args[1].value.numpy()
    ring = min(_zero_sides(weight.any(axis=2), attributes_of(call)))
    sides = (ring, ring, ring, ring)
    return _cropped(call, sides, weight[_inside(weight.shape[:2], sides)])


def _zero_sides(is_used: Array, attrs: WindowAttributes) -> Sides:
    """Rows and columns of zeros on every side that padding covers; none if all taps are zero."""
    if not is_used.any():
        return (0, 0, 0, 0)
    rows, columns = (np.flatnonzero(is_used.any(axis=axis)) for axis in (1, 0))
    height, width = is_used.shape
    empty = (rows[0], columns[0], height - 1 - rows[-1], width - 1 - columns[-1])
    limits = (p // d for p, d in zip(attrs.padding, attrs.dilation * 2, strict=True))
    top, left, bottom, right = (min(int(e), p) for e, p in zip(empty, limits, strict=True))
    return top, left, bottom, right


def _inside(size: tuple[int, ...], sides: Sides) -> tuple[slice, slice]:
    top, left, bottom, right = sides
    return slice(top, size[0] - bottom), slice(left, size[1] - right)


def _cropped(call: ir.Call, sides: Sides, weight: Array) -> ir.Expr:
    if not any(sides):
        return call
    attrs, operator = attributes_of(call), OPERATORS[call.op.name]
    shrink = (side * d for side, d in zip(sides, attrs.dilation * 2, strict=True))
    padding = tuple(p - s for p, s in zip(attrs.padding, shrink, strict=True))
    kept = constant(np.ascontiguousarray(weight))
    return operator(replace(attrs, padding=padding), call.args[0], kept, *call.args[2:])


ARGUMENTS = [wildcard() for _ in range(5)]
RULES = [
    (is_op("tiny.qconv2d")(*ARGUMENTS), _crop_convolution),
    (is_op("tiny.qdepthwise_conv2d")(*ARGUMENTS), _crop_depthwise),
]


class CropZeroTaps(GraphPass):
    """Apply the rules above."""

    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Apply to `main`."""
        return apply_rules(module, RULES)
