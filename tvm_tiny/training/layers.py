"""The layers of a `tiny` module that have weights, as plans of training see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from tvm_tiny.errors import PlanError
from tvm_tiny.schedules.dialect import TensorSpec, call_of, operator_of

Array = np.ndarray[Any, Any]

# Operator -> the axes of its weight that input and output channels lie on.
AXES = {
    "tiny.qconv2d": (3, 0),
    "tiny.qdepthwise_conv2d": (2, 2),
    "tiny.qdense": (1, 0),
    "tiny.float_conv2d": (3, 0),
}


@dataclass(frozen=True, eq=False)
class TrainableLayer:
    """A convolution or dense layer.

    `channel_norms` tell how large the weights of each input channel are. Channels are those of
    `LayerUpdate`: of a convolution with groups, a group's.
    """

    name: str
    operator: str
    input: TensorSpec
    output: TensorSpec
    weight: TensorSpec
    channel_norms: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Input channels that can be chosen."""
        return len(self.channel_norms)

    @property
    def biases(self) -> int:
        """Output channels."""
        return self.weight.shape[AXES[self.operator][1]]

    @property
    def channel_weights(self) -> int:
        """Weights of one input channel."""
        return self.weight.elements // self.channels

    def largest_channels(self, share: float) -> tuple[int, ...]:
        """The input channels with the largest weights, in their own order.

        They are measured as integers, as published; a share that is not zero is at least one.
        """
        if share == 0:
            return ()
        count = max(1, round(share * self.channels))
        by_size = np.argsort(-np.array(self.channel_norms), kind="stable")
        return tuple(sorted(int(channel) for channel in by_size[:count]))

    def kept_input_elements(self, channels: tuple[int, ...]) -> int:
        """How much of the input a gradient of these channels' weights needs."""
        depth = self.input.shape[-1]
        shared = len(self.channel_norms) // depth if self.operator == _DEPTHWISE else 1
        kept = {channel // shared for channel in channels}
        groups = 1 if self.operator == _DEPTHWISE else depth // self.channels
        return len(kept) * groups * (self.input.elements // depth)


_DEPTHWISE = "tiny.qdepthwise_conv2d"


def trainable_layers(mod: tvm.IRModule) -> tuple[TrainableLayer, ...]:
    """All of `main`, in order; the last is the classifier."""
    body = mod["main"].body
    values = [binding.value for block in body.blocks for binding in block.bindings]
    layers = tuple(_layer(value) for value in values if _has_weights(value))
    if not layers:
        raise PlanError(
            "the module has no convolution and no dense layer to train",
            hint="give a module of the integer dialect, as pipeline.rewrite makes it",
        )
    return layers


def _has_weights(value: Any) -> bool:
    operator = operator_of(value)
    return operator is not None and operator.name in AXES


def _layer(value: Any) -> TrainableLayer:
    call = call_of(value)
    weight = call.arguments[1]
    if not isinstance(weight, np.ndarray):
        raise PlanError("the weight is no constant", where=call.attributes.layer)
    axis = AXES[call.operator.name][0]
    by_channel = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    norms = np.sqrt((by_channel.astype(np.float64) ** 2).sum(axis=1))
    return TrainableLayer(
        call.attributes.layer,
        call.operator.name,
        call.inputs[0],
        call.output,
        TensorSpec(tuple(weight.shape), str(weight.dtype)),
        tuple(norms.tolist()),
    )
