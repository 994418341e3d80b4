"""Small nets and the published ones, in the integer dialect."""

from __future__ import annotations

from functools import cache

import tvm

from tests.support.shared import shared_path
from tvm_tiny import zoo
from tvm_tiny.importers import load
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.zoo import Architecture, Block

SMALL = Architecture("small", 16, 5, (Block(7, 7, 2, 9), Block(7, 3, 1, 11, True)), classes=3)
FILES = {"mbv2-w0.35": "mbv2-w0.35-r144", "proxyless-w0.3": "proxyless-w0.3-r176"}


def tiny(module: tvm.IRModule) -> tvm.IRModule:
    """Without passes that drop or merge channels."""
    return QuantizedToTiny()(load(module))


@cache
def small() -> tvm.IRModule:
    """A stem, two blocks of three convolutions each, and a classifier."""
    return tiny(zoo.int8_module(SMALL))


@cache
def published(net: str) -> tvm.IRModule:
    """A net that schemes are published for."""
    if net == "mcunet-5fps":
        path = shared_path("models", "tiny_training", "mcunet-5fps-ptq.npz")
        return tiny(zoo.mcunet_5fps(path))
    path = shared_path("models", "mcunet", f"{FILES[net]}_imagenet.json")
    return tiny(zoo.int8_module(zoo.from_config(path).for_training()))
