from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tvm import tirx

from tests.support.calls import side_by_side
from tests.support.layers import Layer as NamedLayer
from tvm_tiny.cli import options
from tvm_tiny.errors import TargetError
from tvm_tiny.pipeline import compile_module
from tvm_tiny.relay_passes.choose_kernels import (
    BALANCED_CODE,
    GOALS,
    MARGIN_BYTES,
    PRICE,
    Limits,
    choose_kernels,
    with_less_scratch,
)
from tvm_tiny.relay_passes.fit_memory import OFF, Staging, fit_memory
from tvm_tiny.relay_passes.program import Layer, Port, Program, Tensor, program_of
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, TensorSpec, run_meaning
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image

KB = 1 << 10
DSP = frozenset({"dsp"})


@dataclass(frozen=True)
class Variant:
    """A candidate: its instructions, kilobytes of its own and of what all of its kind share."""

    name: str
    instructions: int
    own: int
    shared: int = 0
    scratch: int = 0


FAST, MIDDLE, SMALL = Variant("fast", 100, 8), Variant("middle", 150, 4), Variant("small", 400, 2)


def nothing(number: int) -> tirx.PrimFunc:
    """Return a function that is equal to no other."""
    return tirx.PrimFunc([], tirx.Evaluate(number))


def program(*layers: Sequence[Variant], weights: int = 0) -> Program:
    """Return a chain of layers that have these candidates."""
    names = [f"t{number}" for number in range(len(layers) + 1)]
    made = []
    for number, variants in enumerate(layers):
        candidates = tuple(candidate(number, variant) for variant in variants)
        io = (names[number],), names[number + 1]
        made.append(Layer(f"l{number}", "op", *io, candidates[0], 1, weights, candidates))
    tensors = tuple(Tensor(name, TensorSpec((16,), "int8"), name) for name in names)
    ends = [(Port(name, name, None, None),) for name in (names[0], names[-1])]
    whole = Program(tensors, tuple(made), *ends)
    return whole.with_kernels([layer.chosen for layer in made])


def candidate(number: int, variant: Variant) -> Candidate:
    scratch = TensorSpec((variant.scratch,), "int8") if variant.scratch else None
    own = np.full(variant.own * KB, number, np.int8)
    shared = np.full(variant.shared * KB // 2, variant.instructions % 1000, np.int16)
    kernel = Kernel("none", nothing(number), (("own", own), ("shared", shared)), scratch)
    return Candidate("tiny.op", variant.name, variant.instructions, lambda: kernel)


def variants(chosen: Program) -> list[str]:
    return [layer.chosen.variant for layer in chosen.layers]


def flash(chosen: Program) -> int:
    return costs.flash_bytes(layer.chosen.pieces for layer in chosen.layers)


def with_flash(whole: Program, limit: int, goal: str = "speed") -> Program:
    return choose_kernels(whole, Limits(goal, limit + MARGIN_BYTES))


def test_without_a_limit_all_are_fastest() -> None:
    whole = program([FAST, SMALL], [FAST, SMALL])
    assert choose_kernels(whole, Limits()) is whole
    assert variants(with_flash(whole, 100 * KB)) == ["fast", "fast"]


def test_other_kernels_are_not_made_without_need() -> None:
    def refuse() -> Kernel:
        raise AssertionError("made")

    whole = program([FAST])
    layer = whole.layers[0]
    spare = Candidate("tiny.op", "spare", 900, refuse)
    whole = replace(whole, steps=(replace(layer, candidates=(layer.chosen, spare)),))
    assert variants(with_flash(whole, 100 * KB)) == ["fast"]


def test_small_firmware_does_not_pay_any_price() -> None:
    dear = Variant("dear", FAST.instructions + (PRICE + 1) * 6 * KB, 2)
    fair = Variant("fair", FAST.instructions + (PRICE - 1) * 4 * KB, 4)
    whole = program([FAST, fair, dear])
    assert variants(choose_kernels(whole, Limits("size"))) == ["fair"]
    # a limit is kept at any price
    assert variants(with_flash(whole, 3 * KB, "size")) == ["dear"]


def test_the_cheapest_change_comes_first() -> None:
    dear = [FAST, Variant("small", 900, 2)]
    cheap = [FAST, Variant("small", 130, 2)]
    whole = program(dear, cheap, dear)
    assert variants(with_flash(whole, flash(whole) - 1)) == ["fast", "small", "fast"]


def instructions(chosen: Program) -> int:
    return sum(layer.chosen.instructions for layer in chosen.layers)


def test_flash_shrinks_as_far_as_the_limit_asks() -> None:
    """Close to the best of all choices, and within every limit that one of them keeps."""
    layers = [[FAST, MIDDLE, SMALL], [FAST, SMALL], [FAST, MIDDLE, SMALL], [FAST, MIDDLE]]
    whole = program(*layers)
    every = [whole.with_kernels(c) for c in product(*(x.candidates for x in whole.layers))]
    for limit in range(flash(whole), min(map(flash, every)) - 1, -KB):
        chosen = with_flash(whole, limit)
        assert flash(chosen) <= limit
        best = min(instructions(other) for other in every if flash(other) <= limit)
        assert instructions(chosen) <= 1.2 * best


def test_room_that_is_left_is_taken_back() -> None:
    # the large layer alone is enough, but the small one is cheaper for each byte
    small = [Variant("fast", 100, 8), Variant("small", 110, 6)]
    large = [Variant("fast", 100, 80), Variant("small", 900, 10)]
    whole = program(small, large)
    assert variants(with_flash(whole, flash(whole) - 60 * KB)) == ["fast", "small"]


def test_what_is_shared_goes_with_the_last_that_needs_it() -> None:
    pair = [Variant("fast", 100, 2, shared=20), Variant("small", 150, 2)]
    whole = program(pair, pair, pair)
    assert flash(whole) < 40 * KB
    chosen = with_flash(whole, flash(whole) - 10 * KB)
    assert variants(chosen) == ["small"] * 3


def test_size_is_the_least_flash() -> None:
    whole = program([FAST, MIDDLE, SMALL], [FAST, Variant("equal", 50, 8), SMALL])
    assert variants(choose_kernels(whole, Limits("size"))) == ["small", "small"]


def test_size_takes_the_faster_of_two_equal_kernels() -> None:
    whole = program([SMALL, Variant("slow", 500, 2)])
    assert variants(choose_kernels(whole, Limits("size"))) == ["small"]


def test_balanced_counts_weights() -> None:
    big = [Variant("fast", 100, 100), Variant("small", 150, 50)]
    few, many = program(big, weights=1000), program(big, weights=60 * KB)
    assert variants(choose_kernels(few, Limits("balanced"))) == ["small"]
    assert variants(choose_kernels(many, Limits("balanced"))) == ["fast"]
    assert variants(choose_kernels(many, Limits("balanced", 80 * KB))) == ["small"]
    assert (
        flash(choose_kernels(few, Limits("balanced"))) > 1300 + BALANCED_CODE
    )  # the least there is


def test_less_scratch_where_most_is_live() -> None:
    hungry = [Variant("fast", 100, 1, scratch=640), Variant("small", 300, 1, scratch=64)]
    modest = [Variant("fast", 100, 1, scratch=320), Variant("small", 300, 1)]
    whole = program(hungry, modest)
    chosen, plan = fit_memory(whole, Limits(arena_bytes=400), staging=Staging(OFF))
    assert variants(chosen) == ["small", "fast"]
    assert plan.arena_bytes <= 400
    chosen, plan = fit_memory(
        whole, Limits(arena_bytes=8), staging=Staging(OFF)
    )  # as little as there is
    assert variants(chosen) == ["small", "small"]
    assert with_less_scratch(chosen, 8) is None


def test_scratch_follows_the_kernel() -> None:
    whole = program([Variant("fast", 100, 1, scratch=64), SMALL])
    assert [tensor.name for tensor in whole.tensors] == ["t0", "t1", "t1_scratch"]
    smaller = whole.with_kernels([whole.layers[0].candidates[1]])
    assert [tensor.name for tensor in smaller.tensors] == ["t0", "t1"]
    assert smaller.layers[0].scratch is None


def test_unknown_goals_are_refused() -> None:
    with pytest.raises(TargetError, match="unknown goal 'fast'; known are speed, balanced, size"):
        Limits("fast")
    assert GOALS == options.GOALS


@pytest.mark.slow
def test_a_limit_between_two_goals_keeps_the_bits(tmp_path: Path) -> None:
    names = ["conv3x3 8x8x8->16", "dw3x3 8x8x16", "conv1x1 8x8x16->32", "fc 64->10"]
    calls = [NamedLayer.parse(name).call() for name in names]
    module, specs = side_by_side(calls)
    draft = program_of(module, DSP)
    limits = [flash(choose_kernels(draft, Limits("size"))), flash(draft)]
    middle = sum(limits) // 2
    compiled = compile_module(module, "m", DSP, Limits("speed", middle + MARGIN_BYTES))
    assert limits[0] <= flash(compiled.program) <= middle
    assert variants(compiled.program) not in (variants(draft), ["portable"] * 4)
    image = build_host_image(compiled.code.files, "m", tmp_path)
    generator = np.random.default_rng(0)
    inputs = [generator.integers(-128, 128, spec.shape, np.int8) for (spec,) in specs]
    raw = host.run(image, b"".join(values.tobytes() for values in inputs))
    expected = [run_meaning(call, [x]) for call, x in zip(calls, inputs, strict=True)]
    assert raw.output_bytes == b"".join(values.tobytes() for values in expected)
