"""Nets quantised by ONNX Runtime, compiled and run on the host, against ONNX Runtime itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import tvm_tiny
from tests.frontends.compare import BAR, SAMPLES, agreement, check_layers
from tests.support import nets

pytest.importorskip("onnxruntime")

# the quick one; larger nets are slow, and so are more schemes
QUICK = ("lenet", "qdq_int8_per_tensor")
CASES = [
    pytest.param(net, scheme, marks=() if (net, scheme) == QUICK else pytest.mark.slow)
    for net in nets.NETS
    for scheme in nets.SCHEMES
]
ON_EMULATOR = 3


@pytest.mark.parametrize(("net", "scheme"), CASES)
def test_outputs_are_those_of_onnxruntime(net: str, scheme: str, tmp_path: Path) -> None:
    model = nets.quantised_onnx(net, nets.SCHEMES[scheme], tmp_path)
    firmware = tvm_tiny.build(model, "cortex-m4", name="net")
    samples = nets.samples(net, SAMPLES)
    outputs = firmware.run(samples, on="host").output
    found = agreement(outputs, nets.run_onnx(model, samples), nets.onnx_step(model))
    assert found.within_one >= BAR and found.largest < 2.01, found
    assert found.spread > 10, found
    check_layers(firmware, net, {name for node in model.graph.node for name in node.output})


@pytest.mark.qemu
def test_firmware_gives_the_outputs_of_onnxruntime(tmp_path: Path) -> None:
    model = nets.quantised_onnx("mobilenet_v3", nets.SCHEMES["qdq_int8"], tmp_path)
    firmware = tvm_tiny.build(model, "cortex-m4", name="net")
    samples = nets.samples("mobilenet_v3", ON_EMULATOR)
    found = agreement(
        firmware.run(samples).output, nets.run_onnx(model, samples), nets.onnx_step(model)
    )
    assert found.within_one >= BAR, found
