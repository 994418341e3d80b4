"""Operators of training on the device: losses, gradients and updates.

Importing this package registers them with TVM.
"""

from tvm_tiny.schedules.training import adam as adam
from tvm_tiny.schedules.training import add_gradients as add_gradients
from tvm_tiny.schedules.training import avg_pool2d_gradient as avg_pool2d_gradient
from tvm_tiny.schedules.training import bias_gradient as bias_gradient
from tvm_tiny.schedules.training import bias_update as bias_update
from tvm_tiny.schedules.training import lookup_gradient as lookup_gradient
from tvm_tiny.schedules.training import masked_scale as masked_scale
from tvm_tiny.schedules.training import max_pool2d_gradient as max_pool2d_gradient
from tvm_tiny.schedules.training import mean_gradient as mean_gradient
from tvm_tiny.schedules.training import mean_squared_error as mean_squared_error
from tvm_tiny.schedules.training import momentum_velocity as momentum_velocity
from tvm_tiny.schedules.training import resize_gradient as resize_gradient
from tvm_tiny.schedules.training import sgd_update as sgd_update
from tvm_tiny.schedules.training import slice_gradient as slice_gradient
from tvm_tiny.schedules.training import softmax_cross_entropy as softmax_cross_entropy
