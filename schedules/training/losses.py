"""What losses share: the quantisation of what they are of, and their type rules."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.dialect import Argument, Attributes, TensorSpec


@dataclass(frozen=True)
class LossAttributes(Attributes):
    """Quantisation of the model's output; float32 outputs have scale 1."""

    scale: float
    zero_point: int


def infer(attrs: LossAttributes, output: Argument, target: Argument) -> TensorSpec:
    """One number."""
    return TensorSpec((1,), "float32")


def infer_gradient(attrs: LossAttributes, output: Argument, target: Argument) -> TensorSpec:
    """float32 in the shape of the output."""
    return TensorSpec(tuple(output.shape), "float32")
