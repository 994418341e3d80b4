"""Points of the space: other forms of kernels, of the same meaning on every class of core."""

from __future__ import annotations

import pytest

from tests.support.layers import Layer
from tvm_tiny.schedules.candidates import Candidate, candidates
from tvm_tiny.schedules.dialect import call_of
from tvm_tiny.schedules.spaces import points
from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.measure import Bench
from tvm_tiny.tuning.trial import Trial

DSP = (
    "conv1x1 5x5x64->7",
    "conv1x1 4x4x160->18 linear",
    "conv3x3 7x9x64->6",
    "conv3x3 6x5x5->9 linear",
    "conv3x3s2 9x9x3->8",
    "conv5x5 6x7x3->5",
    "dw3x3 7x9x5",
    "dw3x3s2 9x8x6 linear",
    "dw5x5 6x7x3",
    "dw7x7 9x9x4 linear",
    "fc 70->13",
    "fc 640->12 linear",
)
HELIUM = (
    "conv1x1 5x5x64->8",
    "conv1x1 3x3x16->4 linear",
    "conv1x1 4x5x200->12",
    "conv3x3 5x5x24->16 linear",
    "conv3x3s2 9x9x3->8",
)
CORES = {"cortex-m3": DSP, "cortex-m4": DSP, "cortex-m7": DSP, "cortex-m55": HELIUM}


def of(layer: str, features: list[str]) -> list[Candidate]:
    return [c for c in points(Layer.parse(layer).call(), features) if c.kernel is not None]


def test_defaults_come_first_and_have_no_options() -> None:
    call = Layer.parse("conv1x1 4x4x16->8").call()
    found, defaults = points(call, ["dsp"]), candidates(call, ["dsp"])
    assert [c.variant for c in found[: len(defaults)]] == [c.variant for c in defaults]
    assert not any(c.options for c in found[: len(defaults)])
    assert all(c.options for c in found[len(defaults) :])


def test_orders_of_a_variant_have_functions_of_their_own() -> None:
    found = of("conv1x1 4x4x16->8", ["dsp"])
    forms = [c for c in found if c.variant == "pairs" and set(c.options) <= {"order"}]
    pairs = {str(c.options.get("order", "")): c.kernel for c in forms}
    assert set(pairs) == {"", "paired", "grouped", "hoisted", "drawn"}
    assert pairs[""] is not None
    plain = {f.name: f.assembly for f in pairs[""].microkernels}
    for order, kernel in pairs.items():
        assert kernel is not None
        text = kernel.function.script()
        for function in kernel.microkernels:
            assert f'"{function.name}"' in text
            is_own = plain.get(function.name) != function.assembly
            assert is_own == bool(order and function.name.endswith(f"_{order}"))


@pytest.mark.slow
def test_forms_are_only_those_that_make_other_code() -> None:
    for layer in ("conv1x1 4x4x16->8", "conv3x3 7x9x64->6", "dw5x5 6x7x3", "fc 640->12 linear"):
        forms = [c for c in of(layer, ["dsp"]) if "order" not in c.options]
        for point in forms:
            assert point.kernel is not None
            own = {f.name: f.assembly for f in point.kernel.microkernels}
            for other in forms:
                assert other.kernel is not None
                same = {f.name: f.assembly for f in other.kernel.microkernels}
                assert all(own[name] == same[name] for name in own.keys() & same.keys())
                assert own != same or point is other or not own


def test_a_made_tile_needs_groups_of_four_channels() -> None:
    assert any(c.options for c in of("conv1x1 5x5x64->8", ["mve"]) if c.variant == "helium")
    assert not any(c.options for c in of("conv1x1 5x5x64->7", ["mve"]) if c.variant == "helium")


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_points_compute_the_meaning(core: str) -> None:
    """Every tenth, from the first on; tuning checks each that it measures."""
    features = resolve(core).core.features
    trials = []
    for name in CORES[core]:
        call = call_of(Layer.parse(name).call())
        trials += [Trial(call, c, core) for c in points(call, features) if c.options and c.kernel]
    trials = trials[::10]
    assert trials
    with Bench(core) as bench:
        found = bench.measure(trials)
    for trial, measured in zip(trials, found, strict=True):
        candidate = trial.candidate
        what = f"{trial.call.inputs} {candidate.variant} {dict(candidate.options)}"
        assert not measured.error, f"{what}: {measured.error}"
