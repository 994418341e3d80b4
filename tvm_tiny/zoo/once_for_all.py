"""Architectures from the JSON files in which once-for-all networks (MCUNet's too) are published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_tiny.errors import ModelError
from tvm_tiny.zoo.architecture import Architecture, Block

NO_LAYER = "ZeroLayer"  # a block that the search has dropped: only its shortcut is left


def from_config(config: str | Path | Mapping[str, Any], name: str = "") -> Architecture:
    """Return the architecture of a JSON file, given by its path or as what was read from it."""
    if not isinstance(config, Mapping):
        path = Path(config)
        return from_config(_read(path), name or path.stem)
    try:
        return _architecture(config, name or str(config["name"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"not the description of a network: {type(error).__name__} {error}",
            where=name,
            hint="give a once-for-all JSON with first_conv, blocks, classifier and resolution",
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the architecture: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise ModelError("not the description of a network: no object", where=str(path))
    return config


def _architecture(config: Mapping[str, Any], name: str) -> Architecture:
    stem, head = config["first_conv"], config.get("feature_mix_layer")
    if (int(stem["kernel_size"]), int(stem["stride"])) != (3, 2):
        raise ValueError("the first convolution is not 3x3 with stride 2")
    blocks = [_block(block) for block in config["blocks"]]
    return Architecture(
        name,
        int(config["resolution"]),
        int(stem["out_channels"]),
        tuple(block for block in blocks if block is not None),
        int(head["out_channels"]) if head else 0,
        int(config["classifier"]["out_features"]),
        int(stem["in_channels"]),
    )


def _block(config: Mapping[str, Any]) -> Block | None:
    convolution = config["mobile_inverted_conv"]
    if convolution is None or convolution["name"] == NO_LAYER:
        return None
    if convolution.get("use_se"):
        raise ValueError("squeeze-and-excite is not known here")
    inputs, ratio = int(convolution["in_channels"]), float(convolution["expand_ratio"])
    return Block(
        int(convolution["out_channels"]),
        int(convolution["kernel_size"]),
        int(convolution["stride"]),
        0 if ratio == 1 else int(convolution.get("mid_channels") or round(inputs * ratio)),
        config["shortcut"] is not None,
    )
