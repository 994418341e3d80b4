"""tiny.softmax_cross_entropy: the loss of a classifier by its logits, and its gradient.

Logits are int8, or float32 of scale 1. log_softmax and negative log likelihood are the same
operator. A label that is none of the classes gives NaN, which no update lets pass.
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


def meaning(attrs: LossAttributes, logits: Array, label: Array) -> Array:
    """-log softmax(scale * (logits - zero_point))[label]."""
    if not _is_class(logits, label):
        return np.full(1, np.nan, np.float32)
    powers, top = _powers(attrs, logits), int(logits.argmax())
    behind = attrs.scale * (float(logits.max()) - float(logits.reshape(-1)[label[0]]))
    return np.array([np.log1p(np.delete(powers, top).sum()) + behind], np.float32)


def gradient_meaning(attrs: LossAttributes, logits: Array, label: Array) -> Array:
    """scale * (softmax - one at the label): by integer steps of the logits."""
    if not _is_class(logits, label):
        return np.full(logits.shape, np.nan, np.float32)
    powers = _powers(attrs, logits)
    shares = powers / powers.sum()
    shares[label[0]] = -np.delete(powers, label[0]).sum() / powers.sum()
    return (attrs.scale * shares).reshape(logits.shape).astype(np.float32)


def kernel(attrs: LossAttributes, logits: TensorSpec, label: TensorSpec) -> Kernel:
    """One call."""
    return _kernel("softmax_cross_entropy", attrs, logits, label, infer(attrs, logits, label))


def gradient_kernel(attrs: LossAttributes, logits: TensorSpec, label: TensorSpec) -> Kernel:
    """One call; the output holds the exponentials in between."""
    output = infer_gradient(attrs, logits, label)
    return _kernel("softmax_cross_entropy_gradient", attrs, logits, label, output)


def _kernel(
    name: str,
    attrs: LossAttributes,
    logits: TensorSpec,
    label: TensorSpec,
    output: TensorSpec,
) -> Kernel:
    is_float = logits.dtype == "float32"
    return runtime_kernel(
        name,
        f"tiny_float_{name}" if is_float else f"tiny_{name}",
        [("logits", logits), ("label", label)],
        output,
        [logits.elements],
        constants=[] if is_float else [("scale", np.array([attrs.scale], np.float32))],
        sources=FLOAT_SOURCES if is_float else LOSS_SOURCES,
    )


def _is_class(logits: Array, label: Array) -> bool:
    return 0 <= int(label.reshape(-1)[0]) < logits.size


def _powers(attrs: LossAttributes, logits: Array) -> Array:
    behind = logits.reshape(-1).astype(np.float64) - float(logits.max())
    return np.exp(attrs.scale * behind)


SOFTMAX_CROSS_ENTROPY = define(
    Operator("tiny.softmax_cross_entropy", LossAttributes, infer, meaning, kernel)
)
SOFTMAX_CROSS_ENTROPY_GRADIENT = define(
    Operator(
        "tiny.softmax_cross_entropy_gradient",
        LossAttributes,
        infer_gradient,
        gradient_meaning,
        gradient_kernel,
    )
)
