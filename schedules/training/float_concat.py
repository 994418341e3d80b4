"""tiny.float_concat: float tensors side by side along one axis."""

from __future__ import annotations

from tvm_tiny.schedules.concat import ConcatAttributes, infer, kernel, meaning
from tvm_tiny.schedules.dialect import Operator, define

FLOAT_CONCAT = define(Operator("tiny.float_concat", ConcatAttributes, infer, meaning, kernel))
