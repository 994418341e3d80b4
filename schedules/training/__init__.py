"""Operators of training: gradients and updates, each in a file of its own.

Importing this package registers them with TVM.
"""

from tvm_tiny.schedules.training import (
    conv2d_input_gradient,
    conv2d_weight_gradient,
    conv2d_weight_update,
    depthwise_input_gradient,
    depthwise_weight_gradient,
    depthwise_weight_update,
)

__all__ = [
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "conv2d_weight_update",
    "depthwise_input_gradient",
    "depthwise_weight_gradient",
    "depthwise_weight_update",
]
