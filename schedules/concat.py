"""tiny.concat: tensors of one scale side by side along one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Kernel,
    Operator,
    Reach,
    Reaches,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.microkernel import call

# the second one looks first whether the block lies there already
COPY = ("tiny_copy_block", "tiny_move_block")


@dataclass(frozen=True)
class ConcatAttributes(Attributes):
    """The axis along which extents add up."""

    axis: int


def infer(attrs: ConcatAttributes, *tensors: TensorSpec) -> TensorSpec:
    """The common shape, its axis the sum of all."""
    shape = list(tensors[0].shape)
    shape[attrs.axis] = sum(tensor.shape[attrs.axis] for tensor in tensors)
    return TensorSpec(tuple(shape), tensors[0].dtype)


def meaning(attrs: ConcatAttributes, *tensors: Array) -> Array:
    """numpy.concatenate."""
    return np.concatenate(tensors, axis=attrs.axis)


def kernel(attrs: ConcatAttributes, *tensors: TensorSpec) -> Kernel:
    """For each outer index, one block copied from every input, unless it lies there already."""
    outer = int(np.prod(tensors[0].shape[: attrs.axis]))
    blocks = [tensor.elements // outer for tensor in tensors]
    dtype, total = tensors[0].dtype, sum(blocks)
    starts = np.cumsum([0, *blocks])
    # The number of parameters varies, which a TVMScript signature cannot say.
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("concat")
            inputs = [
                T.arg(f"x{i}", T.Buffer((outer, block), dtype)) for i, block in enumerate(blocks)
            ]
            output = T.arg("y", T.Buffer((outer, total), dtype))
            with T.grid(outer) as o:
                for start, block, source in zip(starts, blocks, inputs, strict=False):
                    to, size = output[o, int(start)], block * np.dtype(dtype).itemsize
                    T.evaluate(call(COPY[outer == 1], to, source[o, 0], size))
    result, places = infer(attrs, *tensors), np.arange(outer)[:, None] * total + starts
    by_tensor = zip(tensors, (places * np.dtype(dtype).itemsize).T, strict=False)
    found = tuple(overlaps.blocks(data, result, at) for data, at in by_tensor)
    return Kernel("concat", builder.get(), overlaps=found)


def reaches(attrs: ConcatAttributes, *tensors: TensorSpec) -> Reaches | None:
    """Channels of the same place."""
    is_by_channel = len(tensors[0].shape) == 4 and attrs.axis in (3, -1)
    return (Reach(),) * len(tensors) if is_by_channel else None


CONCAT = define(Operator("tiny.concat", ConcatAttributes, infer, meaning, kernel, reaches=reaches))
