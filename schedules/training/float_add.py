"""tiny.float_add: a float tensor plus another of its shape, of its last axes, or one number."""

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
from tvm_tiny.schedules.training import add_gradients
from tvm_tiny.schedules.training.float_rows import infer, kernel_of


def meaning(attrs: Attributes, a: Array, b: Array) -> Array:
    """a + b."""
    with np.errstate(all="ignore"):
        return a + b


def kernel(attrs: Attributes, a: TensorSpec, b: Argument) -> Kernel:
    """As two gradients are added, or row by row."""
    if isinstance(b, TensorSpec) and b.elements == a.elements:
        return add_gradients.kernel(attrs, a, b)
    return kernel_of("float_add", "tiny_add_rows", a, b)


FLOAT_ADD = define(Operator("tiny.float_add", Attributes, infer, meaning, kernel))
