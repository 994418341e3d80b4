"""Networks from papers: their published size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tvm_tiny.analysis import memory
from tvm_tiny.zoo import (
    Architecture,
    fbnet_a,
    mnasnet_b1,
    mobilenet_v2,
    mobilenet_v2_redistributed,
)


@pytest.mark.parametrize(
    ("make", "macs", "parameters"),
    [
        (mobilenet_v2, "300.8", 3_504_872),  # torchvision's counts
        (mnasnet_b1, "314.4", 4_383_312),
        (fbnet_a, "249.9", 4_321_464),  # published: 249 M and 4.3 M
    ],
)
def test_size(make: Callable[[], Architecture], macs: str, parameters: int) -> None:
    report = memory(make())
    assert (f"{report.macs / 1e6:.1f}", report.parameters) == (macs, parameters)


def test_the_redistributed_network_has_less_to_do_in_the_stage() -> None:
    net, redistributed = mobilenet_v2(), mobilenet_v2_redistributed()
    assert redistributed.convolutions(3) < net.convolutions(4)
    assert f"{memory(redistributed).macs / 1e6:.1f}" == "292.4"


def test_widths_are_multiples_of_eight() -> None:
    net = mobilenet_v2(0.35, 144)
    assert [net.stem, *dict.fromkeys(block.channels for block in net.blocks)] == [
        *(16, 8, 16, 24, 32, 56, 112),
    ]
    assert net.head == 1280
    assert mobilenet_v2(1.4).head == 1792


def test_residuals_keep_size_and_channels() -> None:
    blocks = mobilenet_v2().blocks
    assert sum(block.residual for block in blocks) == 10
    assert not any(block.residual for block in blocks if block.stride == 2)
