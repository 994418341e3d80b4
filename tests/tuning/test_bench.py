"""Measurements on the emulated cores: exact where right, a reason where wrong."""

from __future__ import annotations

import pytest

import tvm_tiny
from tests.support.layers import Layer
from tests.support.shared import shared_path
from tests.tuning.kernels import STACK, WRONG, add_call, trial_of
from tvm_tiny import importers
from tvm_tiny.pipeline import compile_module
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import call_of
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Measurement, Trial

pytestmark = pytest.mark.qemu
CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LAYERS = ("dw3x3 6x5x8", "conv3x3 5x5x8->8", "fc 32->12")
# What a layer's function takes to compute addresses depends on where its tensors lie.
ADDRESSING = 4


@pytest.mark.parametrize("core", CORES)
def test_all_variants_are_right_on_every_core(core: str) -> None:
    calls = [call_of(Layer.parse(name).call()) for name in LAYERS]
    features = resolve(core).core.features
    trials = [
        Trial(call, candidate, core)
        for call in calls
        for candidate in candidates(call, features)
        if candidate.kernel is not None
    ]
    with Bench(core) as bench:
        found = bench.measure(trials)
    assert [result.error for result in found] == [""] * len(trials)
    assert all(result.instructions and result.cycles for result in found)


@pytest.mark.parametrize("core", ["cortex-m4"])
def test_counts_are_those_of_the_firmware(core: str) -> None:
    path = shared_path("models", "mlperf_tiny", "kws01_dscnn_int8.tflite")
    compiled = compile_module(importers.load(path), "kws", resolve(core).core.features)
    trials = [
        Trial(layer.call, layer.chosen, core)
        for layer in compiled.program.layers
        if layer.call and layer.chosen
    ]
    with Bench(core) as bench:
        measured = bench.measure(trials)
    profiled = tvm_tiny.build(path, core, database="none").run().layers
    for found, expected in zip(measured, profiled, strict=True):
        assert abs((found.instructions or 0) - (expected.instructions or 0)) <= ADDRESSING
        assert abs((found.cycles or 0) - (expected.cycles_estimated or 0)) <= 2 * ADDRESSING


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33"])
def test_whatever_a_kernel_does_wrong_is_told_and_the_bench_goes_on(core: str) -> None:
    right = Trial(add_call(), candidates(add_call())[0], core)
    wrong = WRONG | {"stack overflow": STACK}
    trials = [trial for code in wrong.values() for trial in (trial_of(code, core), right)]
    with Bench(core, instruction_limit=2_000_000) as bench:
        (expected,) = bench.measure([right])
        found = bench.measure(trials)
    assert expected.error == "" and expected.instructions
    assert found[1::2] == [expected] * len(wrong)
    for reason, result in zip(wrong, found[::2], strict=True):
        assert reason in result.error and result.instructions is None


def test_a_measurement_does_not_depend_on_others() -> None:
    call = call_of(Layer.parse("conv3x3 5x5x8->8").call())
    core = resolve("cortex-m4").core
    trials = [Trial(call, c, core.name) for c in candidates(call, core.features) if c.kernel]
    with Bench(core.name) as bench:
        together = bench.measure(trials)
    with Bench(core.name, workers=1) as bench:
        alone = [bench.measure([trial])[0] for trial in reversed(trials)]
    assert together == alone[::-1]


def test_kernels_that_cannot_be_made_are_told() -> None:
    def fail() -> None:
        raise ValueError("no such tile")

    trials = [
        Trial(add_call(), Candidate("tiny.qadd", "none", 0, lambda: None), "cortex-m4"),
        Trial(add_call(), Candidate("tiny.qadd", "broken", 0, fail), "cortex-m4"),
        Trial(add_call(), candidates(add_call())[0], "cortex-m7"),
    ]
    with Bench("cortex-m4") as bench:
        errors = [result.error for result in bench.measure(trials)]
    assert "cannot do the call" in errors[0] and "no such tile" in errors[1]
    assert "another core" in errors[2]


def test_values_by_metric() -> None:
    assert Measurement(5, 7).value("cycles") == 7
    assert Measurement(5, 7).value("instructions") == 5
    assert Measurement(5, 7).value("hardware") is None
    assert Measurement(5, 7, "wrong").value("cycles") is None
