"""Operators of training: wide forms of layers that gradients pass, gradients, updates.

Importing this package registers them with TVM.
"""

from tvm_tiny.schedules.training import (
    in_range,
    truncate,
    wide_add,
    wide_conv2d,
    wide_depthwise_conv2d,
    wide_mul,
)

__all__ = [
    "in_range",
    "truncate",
    "wide_add",
    "wide_conv2d",
    "wide_depthwise_conv2d",
    "wide_mul",
]
