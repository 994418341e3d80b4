"""tiny.float_pad: a constant border around a float tensor of up to four axes."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.dialect import Operator, define
from tvm_tiny.schedules.pad import PadAttributes, infer, kernel, meaning


@dataclass(frozen=True)
class FloatPadAttributes(PadAttributes):
    """Elements before and after each axis, and the finite value they get."""

    value: float  # type: ignore[assignment]  # nothing that reads it needs an integer


FLOAT_PAD = define(Operator("tiny.float_pad", FloatPadAttributes, infer, meaning, kernel))
