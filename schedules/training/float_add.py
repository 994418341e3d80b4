"""tiny.float_add: the sum of two float tensors of one shape, as that of two gradients."""

from __future__ import annotations

from tvm_tiny.schedules.dialect import Attributes, Operator, define
from tvm_tiny.schedules.training.add_gradients import infer, kernel, meaning

FLOAT_ADD = define(Operator("tiny.float_add", Attributes, infer, meaning, kernel))
