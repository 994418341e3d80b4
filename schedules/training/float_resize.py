"""tiny.float_resize: nearest-neighbour upsampling of float images by whole factors."""

from __future__ import annotations

from tvm_tiny.schedules.dialect import Operator, define
from tvm_tiny.schedules.resize import ResizeAttributes, infer, kernel, meaning

FLOAT_RESIZE = define(Operator("tiny.float_resize", ResizeAttributes, infer, meaning, kernel))
