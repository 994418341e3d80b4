"""Architectures without weights: published ones, and those of once-for-all JSON files.

An `Architecture` is plain data. `memory(architecture)` analyses it; `float_module` and
`int8_module` make Relax modules of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_tiny.zoo.architecture import Architecture, Block
from tvm_tiny.zoo.networks import (
    fbnet_a,
    mnasnet_b1,
    mobilenet_v2,
    mobilenet_v2_redistributed,
)
from tvm_tiny.zoo.once_for_all import from_config

if TYPE_CHECKING:
    import tvm

__all__ = [
    "Architecture",
    "Block",
    "fbnet_a",
    "float_module",
    "from_config",
    "int8_module",
    "mnasnet_b1",
    "mobilenet_v2",
    "mobilenet_v2_redistributed",
]


def float_module(net: Architecture) -> tvm.IRModule:
    """A float Relax module: `main(image, *weights)`, NHWC, with batch norms, as it is trained.

    The attribute `num_input` tells that only the first parameter is an input.
    """
    from tvm_tiny.zoo.modules_float import float_module as make

    return make(net)


def int8_module(net: Architecture, seed: int = 0) -> tvm.IRModule:
    """An int8 Relax module with random weights, as importers give them; `build` takes it."""
    from tvm_tiny.zoo.modules_int8 import int8_module as make

    return make(net, seed)
