from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.programs import drifting_program, random_program, wild_program
from tests.support.quick import quick_first
from tests.support.work import calls_of
from tvm_tiny.relay_passes._arena_bounds import needed_bytes
from tvm_tiny.relay_passes._intervals import Interval, allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.plan_arena import ArenaPlan, plan_arena
from tvm_tiny.relay_passes.program import ALIGNMENT, Layer, Port, Program, Tensor, aligned
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, Overlap, TensorSpec

Edges = list[tuple[list[int], int]]
Declared = dict[int, tuple[Overlap | None, ...]]
EXACT, ANYWHERE_BEFORE = Overlap(0, is_exact=True), Overlap(0)


def kernel(overlaps: tuple[Overlap | None, ...] = ()) -> Candidate:
    """Return a candidate whose kernel declares overlaps."""
    return Candidate("tiny.none", "none", 0, lambda: Kernel("none", None, overlaps=overlaps))


def program(
    sizes: list[int],
    edges: Edges,
    views: dict[int, int] | None = None,
    overlaps: Mapping[int, tuple[Overlap | None, ...]] | None = None,
    scratch: dict[int, int] | None = None,
) -> Program:
    """Return a program over tensors t0, t1 ...; an edge is a layer's inputs and output.

    t0 is the input, the last layer's output the output; `views` share another tensor's bytes,
    `overlaps` are those that a layer declares, `scratch` are its bytes.
    """
    names = [f"t{number}" for number in range(len(sizes))]
    storage = {names[a]: names[b] for a, b in (views or {}).items()}
    tensors = tuple(
        Tensor(name, TensorSpec((size,), "int8"), storage.get(name, name))
        for name, size in zip(names, sizes, strict=True)
    )
    declared, needs = overlaps or {}, scratch or {}
    layers = tuple(
        Layer(
            f"l{n}",
            "op",
            tuple(names[i] for i in inputs),
            names[output],
            kernel(declared.get(n, ())),
            0,
            scratch=f"s{n}" if n in needs else None,
        )
        for n, (inputs, output) in enumerate(edges)
    )
    extra = [Tensor(f"s{n}", TensorSpec((size,), "int8"), f"s{n}") for n, size in needs.items()]
    output = edges[-1][1] if edges else 0
    ports = [(Port(names[i], names[i], None, None),) for i in (0, output)]
    return Program((*tensors, *extra), layers, *ports)


def chain(sizes: list[int], overlap: Overlap | None = None) -> Program:
    layers = range(len(sizes) - 1)
    return program(
        sizes, [([i], i + 1) for i in layers], overlaps=dict.fromkeys(layers, (overlap,))
    )


@st.composite
def graphs(draw: st.DrawFn) -> Program:
    """Draw a graph: every layer reads up to three earlier tensors; some tensors are views."""
    count = draw(st.integers(2, 14))
    sizes = draw(st.lists(st.integers(1, 3000), min_size=count, max_size=count))
    edges: Edges = []
    views: dict[int, int] = {}
    overlaps: Declared = {}
    declared = st.none() | st.builds(Overlap, st.integers(-300, 40)) | st.just(EXACT)
    for number in range(1, count):
        earlier = st.integers(0, number - 1)
        if number < count - 1 and draw(st.integers(0, 5)) == 0:
            source = draw(earlier)
            views[number] = views.get(source, source)
            sizes[number] = sizes[views[number]]
        else:
            inputs = draw(st.lists(earlier, min_size=1, max_size=3, unique=True))
            overlaps[len(edges)] = tuple(draw(declared) for _ in inputs)
            edges.append((inputs, number))
    scratch = draw(st.dictionaries(st.integers(0, max(len(edges) - 1, 0)), st.integers(1, 900)))
    return program(sizes, edges, views, overlaps, {n: s for n, s in scratch.items() if edges})


def check(plan: ArenaPlan, given_program: Program) -> None:
    """Assert what any plan must hold."""
    storages = {t.storage: t for t in given_program.tensors if t.storage == t.name}
    intervals = live_intervals(given_program)
    for interval in intervals:
        offset = plan.offsets[interval.name]
        assert offset % ALIGNMENT == 0
        assert 0 <= offset and offset + storages[interval.name].spec.nbytes <= plan.arena_bytes
    sharing = set()
    for one, other in combinations(intervals, 2):
        a, b = plan.offsets[one.name], plan.offsets[other.name]
        are_apart = a + one.size <= b or b + other.size <= a
        if one.first <= other.last and other.first <= one.last and not are_apart:
            sharing.add(allowing(plan, given_program, one.name, other.name))
    assert sharing <= {step for step, _ in plan.overlapping}
    for tensor in given_program.tensors:
        if tensor.storage in plan.offsets:
            assert plan.offsets[tensor.name] == plan.offsets[tensor.storage]
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.arena_bytes % ALIGNMENT == 0


def allowing(plan: ArenaPlan, given_program: Program, one: str, other: str) -> int:
    """Return the number of the layer that lets two storages share bytes as they do."""
    storage = {tensor.name: tensor.storage for tensor in given_program.tensors}
    live = {interval.name: interval for interval in live_intervals(given_program)}
    source, output = sorted((one, other), key=lambda name: live[name].first)
    if live[source].last != live[output].first:
        source, output = output, source
    step = live[output].first
    layer = given_program.steps[step]
    assert live[source].last == step and storage[layer.output] == output
    uses = [o for i, o in zip(layer.inputs, layer.overlaps, strict=True) if storage[i] == source]
    distance = plan.offsets[output] - plan.offsets[source]
    assert uses
    for overlap in uses:
        assert overlap is not None
        assert distance == 0 if overlap.is_exact else distance <= overlap.shift
    return step


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_no_two_live_tensors_overlap(graph: Program) -> None:
    plan = plan_arena(graph)
    check(plan, graph)
    assert plan == plan_arena(graph)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_chains_meet_the_lower_bound(sizes: list[int]) -> None:
    plan = plan_arena(chain(sizes))
    check(plan, chain(sizes))
    pairs = [aligned(a) + aligned(b) for a, b in pairwise(sizes)]
    assert plan.arena_bytes == plan.lower_bound_bytes == max([aligned(sizes[0]), *pairs])


def test_a_residual_stays_until_its_addition() -> None:
    graph = program([100, 200, 300, 100], [([0], 1), ([1], 2), ([2, 0], 3)])
    plan = plan_arena(graph)
    check(plan, graph)
    assert plan.arena_bytes == plan.lower_bound_bytes == sum(map(aligned, (100, 200, 300)))


def test_a_view_keeps_its_storage_alive() -> None:
    graph = program([64, 64, 64, 64], [([0], 2), ([1, 2], 3)], {1: 0})
    intervals = {i.name: (i.first, i.last) for i in live_intervals(graph)}
    assert intervals["t0"] == (0, 1)
    assert plan_arena(graph).offsets["t1"] == plan_arena(graph).offsets["t0"]


def test_input_and_output_are_live_at_the_ends() -> None:
    intervals = {i.name: (i.first, i.last) for i in live_intervals(chain([10, 20, 30]))}
    assert intervals == {"t0": (0, 0), "t1": (0, 1), "t2": (1, 2)}


def test_an_output_that_is_the_input() -> None:
    plan = plan_arena(program([33], []))
    assert plan == ArenaPlan({"t0": 0}, 48, 48, peak_tensor_bytes=33)


@pytest.mark.parametrize(("size", "expected"), [(1, 16), (16, 16), (17, 32), (0, 0)])
def test_aligned(size: int, expected: int) -> None:
    assert aligned(size) == expected


def test_bytes_that_steps_need() -> None:
    intervals = [Interval("a", 16, 0, 2), Interval("b", 32, 1, 1), Interval("c", 64, 2, 3)]
    assert needed_bytes(intervals, {}) == [16, 48, 80, 64]
    assert needed_bytes(intervals, {("a", "c"): ANYWHERE_BEFORE}) == [16, 48, 64, 64]


def planned(graph: Program) -> ArenaPlan:
    """Return the plan of a program after all checks; it meets the bound."""
    plan = plan_arena(graph)
    check(plan, graph)
    assert plan.arena_bytes == plan.lower_bound_bytes
    return plan


@pytest.mark.parametrize("overlap", [EXACT, ANYWHERE_BEFORE])
def test_a_chain_in_place(overlap: Overlap) -> None:
    plan = planned(chain([90, 90, 90, 90], overlap))
    assert (plan.arena_bytes, plan.peak_tensor_bytes) == (96, 90)
    assert plan.overlapping == {(0, 0), (1, 0), (2, 0)}


def test_an_exact_overlap_begins_where_the_input_does() -> None:
    plan = planned(program([100, 40, 90], [([0], 1), ([1], 2)], overlaps={0: (EXACT,)}))
    assert plan.offsets["t1"] in (plan.offsets["t0"], plan.offsets["t2"] + aligned(90), 96)
    assert plan.arena_bytes == aligned(90) + aligned(40)


def test_an_output_that_grows_begins_before_its_input() -> None:
    plan = planned(chain([100, 300], Overlap(-210)))
    assert plan.offsets["t0"] - plan.offsets["t1"] == aligned(210)
    assert plan.arena_bytes == aligned(210) + aligned(100)
    assert plan.peak_tensor_bytes == aligned(210) + 100


def test_sweeps_drift_down() -> None:
    assert planned(chain([160] * 4, Overlap(-20))).arena_bytes == 160 + 3 * 32


@pytest.mark.parametrize("kept", [64, 320])
@pytest.mark.parametrize("lag", [32, 48, 80])
def test_sweeps_drift_down_beside_a_tensor(kept: int, lag: int) -> None:
    """It is above or below all of them, or between two, which then are apart."""
    sweeps = {number: (Overlap(-lag),) for number in range(1, 4)}
    edges: Edges = [([0], 1), ([1], 2), ([2], 3), ([3], 4), ([4, 0], 5)]
    graph = program([kept, 160, 160, 160, 160, 16], edges, overlaps=sweeps)
    assert planned(graph).arena_bytes == kept + min(160 + 3 * lag, 2 * 160)


def test_a_sweep_that_begins_behind_its_input_takes_drift_back() -> None:
    overlaps = {0: (Overlap(-32),), 1: (Overlap(32),), 2: (Overlap(-64),)}
    graph = program([160, 160, 96, 160], [([0], 1), ([1], 2), ([2], 3)], overlaps=overlaps)
    assert planned(graph).arena_bytes == 224


def test_a_sweep_begins_again_where_there_is_room() -> None:
    small = chain([160, 160, 32, 160, 160], Overlap(-32))
    assert planned(small).arena_bytes == 192


def test_a_sum_in_place_of_either_input() -> None:
    edges: Edges = [([0], 1), ([0, 1], 2)]
    for overlaps in ((EXACT, EXACT), (None, EXACT), (ANYWHERE_BEFORE, None)):
        plan = planned(program([64, 64, 64], edges, overlaps={1: overlaps}))
        assert plan.arena_bytes == 128
        (shared,) = plan.overlapping
        assert overlaps[shared[1]] is not None


def test_an_input_that_is_read_again_keeps_its_bytes() -> None:
    edges: Edges = [([0], 1), ([0, 1], 2)]
    plan = planned(program([64, 64, 64], edges, overlaps={0: (EXACT,)}))
    assert (plan.arena_bytes, plan.overlapping) == (192, frozenset())


def test_an_output_of_the_model_keeps_its_bytes() -> None:
    graph = chain([64, 64, 64], EXACT)
    ports = (Port("t1", "t1", None, None), Port("t2", "t2", None, None))
    plan = planned(replace(graph, outputs=ports))
    assert plan.overlapping == {(0, 0)}


def test_all_uses_of_an_input_must_allow_it() -> None:
    edges: Edges = [([0, 1], 2)]
    for second, expected in ((EXACT, 64), (None, 128), (Overlap(-16), 80), (Overlap(-8), 80)):
        overlaps = {0: (ANYWHERE_BEFORE, second)}
        plan = planned(program([64, 64, 64], edges, {1: 0}, overlaps))
        assert plan.arena_bytes == expected
    plan = planned(program([64, 64, 64], edges, {1: 0}, {0: (EXACT, Overlap(-16))}))
    assert plan.overlapping == frozenset()


def test_scratch_is_apart_and_no_tensor() -> None:
    graph = program([64, 64], [([0], 1)], overlaps={0: (EXACT,)}, scratch={0: 100})
    plan = planned(graph)
    assert (plan.arena_bytes, plan.peak_tensor_bytes) == (64 + aligned(100), 64)


def test_shifts_are_those_of_the_declaration_rounded_down() -> None:
    graph = chain([64, 64], Overlap(-20))
    assert allowed_overlaps(graph, live_intervals(graph)) == {("t0", "t1"): Overlap(-32)}


@quick_first("grown", [random_program, wild_program, drifting_program])
def test_random_programs_meet_the_bound(grown: Callable[[int, int], Program]) -> None:
    excess = []
    for seed in range(60):
        graph = grown(seed, 5 + seed % 40)
        plan = plan_arena(graph)
        check(plan, graph)
        excess.append(plan.arena_bytes / plan.lower_bound_bytes - 1)
    # the bound is weak where a tensor lives beside some of a long chain of sweeps
    assert sum(part > 0.01 for part in excess) <= 2


@pytest.mark.slow
def test_the_plan_of_a_large_program_takes_little_work() -> None:
    graph = wild_program(200, 200)
    assert calls_of(lambda: plan_arena(graph)) < 3e6
    plan = plan_arena(graph)
    check(plan, graph)
    assert plan.arena_bytes <= 1.01 * plan.lower_bound_bytes
