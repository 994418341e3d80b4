"""Sliding windows: the geometry that convolutions and poolings share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, Attributes, Reach


@dataclass(frozen=True)
class WindowAttributes(Attributes):
    """Strides and dilation are (height, width), padding is (top, left, bottom, right)."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    @property
    def is_padded(self) -> bool:
        """Whether any window can reach over the border."""
        return any(self.padding)

    def output_size(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        """Output (height, width) for an input (height, width)."""
        top, left, bottom, right = self.padding
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, kernel, strict=True)]
        padded = (size[0] + top + bottom, size[1] + left + right)
        return (
            (padded[0] - reach[0]) // self.strides[0] + 1,
            (padded[1] - reach[1]) // self.strides[1] + 1,
        )


def reach_of(attrs: WindowAttributes, kernel: tuple[int, int], fill: int) -> Reach:
    """What windows of a kernel's size read."""
    rows, columns = (d * (k - 1) + 1 for d, k in zip(attrs.dilation, kernel, strict=True))
    return Reach((rows, columns), attrs.strides, attrs.padding[:2], fill)


def without_border(attrs: Attributes, rows: bool, columns: bool) -> Attributes:
    """The same for a part of an image that holds its own border: above and below, at the sides."""
    if not isinstance(attrs, WindowAttributes):
        return attrs
    top, left, bottom, right = attrs.padding
    vertical = (0, 0) if rows else (top, bottom)
    sides = (0, 0) if columns else (left, right)
    padding = (vertical[0], sides[0], vertical[1], sides[1])
    return dataclasses.replace(attrs, padding=padding)


def patches(data: Array, kernel: tuple[int, int], attrs: WindowAttributes, fill: int) -> Array:
    """All windows of an NHWC tensor: (batch, out height, out width, kh, kw, channels)."""
    top, left, bottom, right = attrs.padding
    padded = np.pad(
        data, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=data.dtype.type(fill)
    )
    height, width = attrs.output_size((data.shape[1], data.shape[2]), kernel)
    rows = np.arange(height)[:, None] * attrs.strides[0] + np.arange(kernel[0]) * attrs.dilation[0]
    cols = np.arange(width)[:, None] * attrs.strides[1] + np.arange(kernel[1]) * attrs.dilation[1]
    return padded[:, rows[:, None, :, None], cols[None, :, None, :], :]


@dataclass(frozen=True)
class WindowIndex:
    """TIR of where a window's tap lies in the input, and whether it lies inside at all."""

    attrs: WindowAttributes
    height: int
    width: int

    def row(self, output_row: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
        """Input row of a tap."""
        return (
            output_row * self.attrs.strides[0]
            + tap * self.attrs.dilation[0]
            - self.attrs.padding[0]
        )

    def column(self, output_column: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
        """Input column of a tap."""
        attrs = self.attrs
        return output_column * attrs.strides[1] + tap * attrs.dilation[1] - attrs.padding[1]

    def row_is_inside(self, output_row: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
        """Whether a tap's row exists; always true without padding."""
        top, _, bottom, _ = self.attrs.padding
        return _is_inside(self.row(output_row, tap), self.height, top or bottom)

    def column_is_inside(self, output_column: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
        """Whether a tap's column exists; always true without padding."""
        _, left, _, right = self.attrs.padding
        return _is_inside(self.column(output_column, tap), self.width, left or right)


def _is_inside(index: tirx.Expr, size: int, padding: int) -> tirx.Expr:
    return T.And(index >= 0, index < size) if padding else T.bool(True)
