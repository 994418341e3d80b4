"""tiny.truncate: int16 to int8 by the clamp that the wide operator before it left out."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules import numerics, overlaps
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
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training import wide


@dataclass(frozen=True)
class ClampAttributes(Attributes):
    """The ends of the clamp, within int8."""

    clamp_min: int
    clamp_max: int


def infer(attrs: ClampAttributes, data: TensorSpec) -> TensorSpec:
    """The same shape of int8."""
    return TensorSpec(data.shape, "int8")


def meaning(attrs: ClampAttributes, data: Array) -> Array:
    """The nearest number within the clamp."""
    return numerics.clamp_int8(data, attrs.clamp_min, attrs.clamp_max)


def kernel(attrs: ClampAttributes, data: TensorSpec) -> Kernel:
    """A call of the runtime."""
    output = infer(attrs, data)
    return runtime_kernel(
        "truncate",
        "tiny_truncate",
        [("data", data)],
        output,
        (data.elements, attrs.clamp_min, attrs.clamp_max),
        sources=wide.ELEMENTWISE_SOURCES,
        overlaps=(overlaps.elements(data, output),),
    )


def reaches(attrs: ClampAttributes, data: TensorSpec) -> Reaches | None:
    """The same pixel, of images."""
    return (Reach(),) if len(data.shape) == 4 else None


TRUNCATE = define(
    Operator("tiny.truncate", ClampAttributes, infer, meaning, kernel, reaches=reaches)
)
