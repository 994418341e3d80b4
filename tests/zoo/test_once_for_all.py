"""Architectures from once-for-all JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import shared_path
from tvm_tiny.analysis import memory
from tvm_tiny.errors import ModelError
from tvm_tiny.zoo import Block, from_config

STEM = {"kernel_size": 3, "stride": 2, "in_channels": 3, "out_channels": 16}
SHORTCUT = {"name": "IdentityLayer"}


def inverted(**changes: Any) -> dict[str, Any]:
    block = {
        "name": "MBInvertedConvLayer",
        "in_channels": 16,
        "out_channels": 16,
        "kernel_size": 5,
        "stride": 1,
        "expand_ratio": 3,
    }
    return block | changes


def config(*blocks: Any, **changes: Any) -> dict[str, Any]:
    made = [{"mobile_inverted_conv": block, "shortcut": shortcut} for block, shortcut in blocks]
    net = {
        "name": "net",
        "resolution": 64,
        "first_conv": STEM,
        "blocks": made,
        "feature_mix_layer": None,
        "classifier": {"out_features": 10},
    }
    return net | changes


def test_blocks() -> None:
    net = from_config(
        config(
            (inverted(expand_ratio=1, out_channels=8), None),
            (inverted(in_channels=8, stride=2), None),
            (inverted(mid_channels=40), SHORTCUT),
        )
    )
    assert net.blocks == (
        Block(8, 5, 1),
        Block(16, 5, 2, 24),
        Block(16, 5, 1, 40, residual=True),
    )
    assert (net.name, net.stem, net.head, net.classes) == ("net", 16, 0, 10)


def test_dropped_blocks() -> None:
    net = from_config(config(({"name": "ZeroLayer"}, SHORTCUT), (None, SHORTCUT)))
    assert net.blocks == ()


def test_head() -> None:
    assert from_config(config(feature_mix_layer={"out_channels": 384})).head == 384


def test_every_shared_file() -> None:
    files = sorted(shared_path("models", "mcunet").glob("*.json"))
    assert len(files) >= 13
    for file in files:
        net = from_config(file)
        assert net.name == file.stem
        report = memory(net)
        assert report.peak_in_place_bytes <= report.peak_bytes


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"name": "net"}, "KeyError 'resolution'|KeyError 'first_conv'"),
        (config(first_conv=STEM | {"stride": 1}), "the first convolution is not 3x3"),
        (config((inverted(use_se=True), None)), "squeeze-and-excite is not known"),
        (config(blocks=3), "TypeError"),
    ],
)
def test_other_objects(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        from_config(broken)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    with pytest.raises(ModelError, match="cannot read the architecture"):
        from_config(path)
    path.write_text("{")
    with pytest.raises(ModelError, match="cannot read the architecture"):
        from_config(path)
    path.write_text("[]")
    with pytest.raises(ModelError, match="no object"):
        from_config(path)
    path.write_text(json.dumps(config()))
    assert from_config(path).name == "net"
