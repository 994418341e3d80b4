"""A small int8 net to train, and what its passes make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm

from tvm_tiny import importers, zoo
from tvm_tiny.pipeline import rewrite_for_training
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate, SeparateTrainables
from tvm_tiny.schedules.dialect import attributes_of, operator_of
from tvm_tiny.zoo import Architecture, Block

Array = np.ndarray[Any, Any]
BLOCKS = (Block(8, expanded=0), Block(8, expanded=20, residual=True), Block(12, 5, 2, 24))
NET = Architecture("small", 16, 8, BLOCKS, classes=4)
LINEAR = ("tiny.qconv2d", "tiny.qdepthwise_conv2d", "tiny.qdense")


def small_module(seed: int = 0) -> tvm.IRModule:
    """Return the net in the dialect, as training begins with it."""
    return rewrite_for_training(importers.load(zoo.int8_module(NET, seed)))


def layers(module: tvm.IRModule) -> list[str]:
    """Return names of layers with weights, in order."""
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    known = [value for value in values if operator_of(value) is not None]
    return [attributes_of(call).layer for call in known if call.op.name in LINEAR]


def updates(module: tvm.IRModule, count: int) -> list[LayerUpdate]:
    """Return updates of the last layers: all weights of the last, two channels of others."""
    *others, last = layers(module)[-count:]
    return [*(LayerUpdate(name, (2, 0), True) for name in others), LayerUpdate(last, EVERY, True)]


EVERY = tuple(range(NET.blocks[-1].channels))


def separated(count: int = 4, loss: str = "softmax_cross_entropy") -> tuple[Any, Any]:
    """Return the module with states, and the states."""
    module = small_module()
    separate = SeparateTrainables(updates(module, count), loss)
    return separate(module), separate.states


def inputs_of(module: tvm.IRModule, states: Any, label: int = 1, rate: float = 1e-4) -> list[Array]:
    """Return an image, its label, the rate, and first values of the states."""
    image = np.random.default_rng(0).integers(-128, 128, (1, 16, 16, 3), np.int8)
    scalars = [np.array([label], np.int32), np.array([rate], np.float32)]
    return [image, *scalars, *(state.initial for state in states)]
