"""Nets quantised by torchao's PT2E, compiled and run on the host, against torch itself."""

from __future__ import annotations

from typing import Any

import pytest

import tvm_tiny
from tests.frontends.compare import BAR, SAMPLES, agreement, check_layers
from tests.support import nets

CASES = [(net, per_channel) for net in nets.NETS for per_channel in (True, False)]
ON_EMULATOR = 3


@pytest.mark.slow
@pytest.mark.parametrize(("net", "per_channel"), CASES)
def test_outputs_are_those_of_torch(net: str, per_channel: bool) -> None:
    program = nets.quantised_torch(net, per_channel)
    firmware = tvm_tiny.build(program, "cortex-m4", name="net")
    samples = nets.samples(net, SAMPLES)
    outputs = firmware.run(samples, on="host").output
    found = agreement(outputs, nets.run_torch(program, samples), nets.torch_step(program))
    assert found.within_one >= BAR and found.largest < 3.01, found
    assert found.spread > 10, found
    check_layers(firmware, net, names(program))


def names(program: Any) -> list[str]:
    return [node.name for node in program.graph.nodes]


@pytest.mark.qemu
def test_firmware_gives_the_outputs_of_torch() -> None:
    program = nets.quantised_torch("resnet")
    firmware = tvm_tiny.build(program, "cortex-m4", name="net")
    samples = nets.samples("resnet", ON_EMULATOR)
    found = agreement(
        firmware.run(samples).output,
        nets.run_torch(program, samples),
        nets.torch_step(program),
    )
    assert found.within_one >= BAR, found
