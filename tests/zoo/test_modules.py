"""Modules of architectures: float as trained, int8 as imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax

from tests.support.evaluate_tiny import evaluate
from tvm_tiny import zoo
from tvm_tiny.analysis import memory
from tvm_tiny.importers import load
from tvm_tiny.pipeline import compile_module, rewrite
from tvm_tiny.schedules import dialect
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image
from tvm_tiny.zoo import Architecture, Block

NETS = {
    "mobilenet_v2": zoo.mobilenet_v2(0.35, 48, classes=10),
    "fbnet_a": zoo.fbnet_a(32),
    "odd": Architecture("odd", 31, 5, (Block(7, 7, 2, 9), Block(7, 1, 1, 11, True)), classes=3),
}
Array = np.ndarray[Any, Any]


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> Architecture:
    return NETS[request.param]


def image(net: Architecture, seed: int) -> Array:
    shape = (1, net.resolution, net.resolution, net.image_channels)
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def test_float_modules_say_what_the_architecture_says(net: Architecture) -> None:
    made = zoo.float_module(net)
    relax.analysis.well_formed(made)
    assert memory(made) == memory(net)


@pytest.mark.slow
def test_float_modules_run() -> None:
    """With weights bound, as any Relax module."""
    net = NETS["odd"]
    made = zoo.float_module(net)
    parameters = {
        p.name: np.ones([int(d) for d in p.ty.shape], "float32") for p in made["main"].params[1:]
    }
    bound = relax.transform.BindParams("main", parameters)(made)
    machine = relax.VirtualMachine(tvm.compile(bound, "llvm"), tvm.cpu())
    data = tvm.runtime.tensor(np.ones((1, 31, 31, 3), "float32"))
    assert machine["main"](data).numpy().shape == (1, 3)


def test_int8_modules_have_the_same_layers(net: Architecture) -> None:
    """Biases take the place of batch norms: one number per channel less."""
    made, expected = memory(zoo.int8_module(net)), memory(net)
    assert made.macs == expected.macs
    assert made.weights == expected.weights
    assert [x.live_bytes for x in made.layers] == [x.live_bytes for x in expected.layers]
    assert [x.in_place_bytes for x in made.layers] == [x.in_place_bytes for x in expected.layers]


def test_int8_modules_are_seeded() -> None:
    first, same, other = (zoo.int8_module(NETS["odd"], seed) for seed in (0, 0, 1))
    assert tvm_ffi.structural_equal(first, same)
    assert not tvm_ffi.structural_equal(first, other)


def test_int8_modules_compile(net: Architecture) -> None:
    """All becomes the integer dialect, and outputs depend on inputs."""
    made = rewrite(load(zoo.int8_module(net)))
    calls = [b.value for block in made["main"].body.blocks for b in block.bindings]
    assert all(dialect.operator_of(call) for call in calls)
    (first,), (second,) = (evaluate(made, image(net, seed)) for seed in (0, 1))
    assert first.dtype == np.int8
    assert np.mean(first != second) > 0.5
    assert len(np.unique(first)) >= min(3, net.classes)


def test_int8_modules_run_exactly(tmp_path: Path) -> None:
    """The generated C, under sanitisers, gives the bits of the operators' meaning."""
    net = NETS["odd"]
    module = load(zoo.int8_module(net))
    compiled = compile_module(module, "odd")
    program = build_host_image(compiled.code.files, "odd", tmp_path)
    for seed in range(3):
        (expected,) = evaluate(rewrite(module), image(net, seed))
        raw = host.run(program, image(net, seed).tobytes(), timeout_s=60)
        np.testing.assert_array_equal(np.frombuffer(raw.output_bytes, np.int8), expected[0])
