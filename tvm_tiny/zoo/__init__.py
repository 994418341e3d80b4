"""Architectures without weights: published ones, and those of once-for-all JSON files.

An `Architecture` is plain data. `memory(architecture)` analyses it; `float_module` and
`int8_module` make Relax modules of it. `mcunet_5fps` reads a published int8 net for training.
"""

from __future__ import annotations

from pathlib import Path
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
    "mcunet_5fps",
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


def mcunet_5fps(
    npz_path: str | Path, classes: int = 10, resolution: int = 128, seed: int = 0
) -> tvm.IRModule:
    """The int8 module of a published backbone, with a new classifier; `build` takes it.

    It ends in int8 logits. The classifier's weights are small and random, the same for the same
    seed. Raises ModelError for a file of another kind.
    """
    from tvm_tiny.zoo.backbone import read_backbone
    from tvm_tiny.zoo.modules_backbone import backbone_module

    return backbone_module(read_backbone(npz_path), classes, resolution, seed)
