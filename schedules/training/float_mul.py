"""tiny.float_mul: a float tensor times another of its shape, of its last axes, or of one number.

Gradients are products too: that of either factor by the other.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import (
    Argument,
    Array,
    Attributes,
    Kernel,
    Operator,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.training.float_rows import infer, kernel_of


def meaning(attrs: Attributes, a: Array, b: Array) -> Array:
    """a * b."""
    with np.errstate(all="ignore"):
        return a * b


def kernel(attrs: Attributes, a: TensorSpec, b: Argument) -> Kernel:
    """As gradients are scaled: by a scale for each element, or each channel."""
    return kernel_of("float_mul", "tiny_scale_gradient", a, b)


FLOAT_MUL = define(Operator("tiny.float_mul", Attributes, infer, meaning, kernel))
