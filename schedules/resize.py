"""tiny.resize: nearest-neighbour upsampling of NHWC by whole factors."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.script import tirx as T

from tvm_tiny.schedules.dialect import Array, Attributes, Kernel, Operator, TensorSpec, define


@dataclass(frozen=True)
class ResizeAttributes(Attributes):
    """Factors (height, width); output pixel (y, x) is input pixel (y // fh, x // fw)."""

    factors: tuple[int, int]


def infer(attrs: ResizeAttributes, data: TensorSpec) -> TensorSpec:
    """Height and width multiplied."""
    batch, height, width, channels = data.shape
    size = (height * attrs.factors[0], width * attrs.factors[1])
    return TensorSpec((batch, *size, channels), data.dtype)


def meaning(attrs: ResizeAttributes, data: Array) -> Array:
    """numpy.repeat along height and width."""
    return data.repeat(attrs.factors[0], axis=1).repeat(attrs.factors[1], axis=2)


def kernel(attrs: ResizeAttributes, data: TensorSpec) -> Kernel:
    """One output element at a time."""
    batch, height, width, channels = data.shape
    _, out_height, out_width, _ = infer(attrs, data).shape
    (rows, columns), dtype = attrs.factors, data.dtype

    @T.prim_func(s_tir=True)
    def resize(
        x: T.Buffer((batch, height, width, channels), dtype),
        y: T.Buffer((batch, out_height, out_width, channels), dtype),
    ):
        for n, oy, ox, channel in T.grid(batch, out_height, out_width, channels):
            with T.sblock("resize"):
                b, v, h, c = T.axis.remap("SSSS", [n, oy, ox, channel])
                y[b, v, h, c] = x[b, v // rows, h // columns, c]

    return Kernel("resize", resize)


RESIZE = define(Operator("tiny.resize", ResizeAttributes, infer, meaning, kernel))
