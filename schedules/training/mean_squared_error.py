"""tiny.mean_squared_error: the loss of a regression by its output, and its gradient.

The output is int8, or float32 of scale 1.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import (
    Array,
    Kernel,
    Operator,
    TensorSpec,
    define,
)
from tvm_tiny.schedules.runtime_kernel import runtime_kernel
from tvm_tiny.schedules.training.float_steps import FLOAT_SOURCES, LOSS_SOURCES
from tvm_tiny.schedules.training.losses import LossAttributes, infer, infer_gradient


def meaning(attrs: LossAttributes, output: Array, target: Array) -> Array:
    """mean((scale * (output - zero_point) - target)^2)."""
    errors = _errors(attrs, output, target)
    with np.errstate(over="ignore"):
        return np.array([np.mean(errors * errors)]).astype(np.float32)


def gradient_meaning(attrs: LossAttributes, output: Array, target: Array) -> Array:
    """2 * scale * error / count: by integer steps of the output."""
    factor = 2 * attrs.scale / output.size
    return (factor * _errors(attrs, output, target)).astype(np.float32).reshape(output.shape)


def kernel(attrs: LossAttributes, output: TensorSpec, target: TensorSpec) -> Kernel:
    """One call."""
    factors = np.array([attrs.scale], np.float32)
    spec = infer(attrs, output, target)
    return _kernel("mean_squared_error", attrs, output, target, factors, spec)


def gradient_kernel(attrs: LossAttributes, output: TensorSpec, target: TensorSpec) -> Kernel:
    """One call."""
    factors = np.array([attrs.scale, 2 * attrs.scale / output.elements], np.float32)
    spec = infer_gradient(attrs, output, target)
    return _kernel("mean_squared_error_gradient", attrs, output, target, factors, spec)


def _kernel(
    name: str,
    attrs: LossAttributes,
    output: TensorSpec,
    target: TensorSpec,
    factors: Array,
    result: TensorSpec,
) -> Kernel:
    is_float = output.dtype == "float32"
    return runtime_kernel(
        name,
        f"tiny_float_{name}" if is_float else f"tiny_{name}",
        [("value", output), ("target", target)],
        result,
        [output.elements] if is_float else [output.elements, attrs.zero_point],
        constants=[] if is_float else [("factors", factors)],
        sources=FLOAT_SOURCES if is_float else LOSS_SOURCES,
    )


def _errors(attrs: LossAttributes, output: Array, target: Array) -> Array:
    scale = float(np.float32(attrs.scale))
    real = scale * (output.reshape(-1).astype(np.float64) - attrs.zero_point)
    return real - target.reshape(-1).astype(np.float64)


MEAN_SQUARED_ERROR = define(
    Operator("tiny.mean_squared_error", LossAttributes, infer, meaning, kernel)
)
MEAN_SQUARED_ERROR_GRADIENT = define(
    Operator(
        "tiny.mean_squared_error_gradient",
        LossAttributes,
        infer_gradient,
        gradient_meaning,
        gradient_kernel,
    )
)
