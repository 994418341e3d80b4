from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_tiny.relay_passes.plan_arena import (
    ArenaPlan,
    Interval,
    live_intervals,
    lower_bound,
    plan_arena,
)
from tvm_tiny.relay_passes.program import ALIGNMENT, Layer, Port, Program, Tensor, aligned
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, TensorSpec

KERNEL = Candidate("tiny.none", "none", 0, lambda: Kernel("none", None))
Edges = list[tuple[list[int], int]]


def program(sizes: list[int], edges: Edges, views: dict[int, int] | None = None) -> Program:
    """Return a program over tensors t0, t1 ...; an edge is a layer's inputs and output.

    t0 is the input, the last layer's output the output; `views` share another tensor's bytes.
    """
    names = [f"t{number}" for number in range(len(sizes))]
    storage = {names[a]: names[b] for a, b in (views or {}).items()}
    tensors = tuple(
        Tensor(name, TensorSpec((size,), "int8"), storage.get(name, name))
        for name, size in zip(names, sizes, strict=True)
    )
    layers = tuple(
        Layer(f"l{n}", "op", tuple(names[i] for i in inputs), names[output], KERNEL, 0)
        for n, (inputs, output) in enumerate(edges)
    )
    output = edges[-1][1] if edges else 0
    ports = [(Port(names[i], names[i], None, None),) for i in (0, output)]
    return Program(tensors, layers, *ports)


def chain(sizes: list[int]) -> Program:
    return program(sizes, [([i], i + 1) for i in range(len(sizes) - 1)])


@st.composite
def graphs(draw: st.DrawFn) -> Program:
    """Draw a graph: every layer reads up to three earlier tensors; some tensors are views."""
    count = draw(st.integers(2, 14))
    sizes = draw(st.lists(st.integers(1, 3000), min_size=count, max_size=count))
    edges: Edges = []
    views: dict[int, int] = {}
    for number in range(1, count):
        earlier = st.integers(0, number - 1)
        if number < count - 1 and draw(st.integers(0, 5)) == 0:
            source = draw(earlier)
            views[number] = views.get(source, source)
            sizes[number] = sizes[views[number]]
        else:
            inputs = draw(st.lists(earlier, min_size=1, max_size=3, unique=True))
            edges.append((inputs, number))
    return program(sizes, edges, views)


def check(plan: ArenaPlan, given_program: Program) -> None:
    """Assert what any plan must hold."""
    storages = {t.storage: t for t in given_program.tensors if t.storage == t.name}
    intervals = live_intervals(given_program)
    for interval in intervals:
        offset = plan.offsets[interval.name]
        assert offset % ALIGNMENT == 0
        assert 0 <= offset and offset + storages[interval.name].spec.nbytes <= plan.arena_bytes
    for one, other in combinations(intervals, 2):
        if one.first <= other.last and other.first <= one.last:
            a, b = plan.offsets[one.name], plan.offsets[other.name]
            assert a + one.size <= b or b + other.size <= a, f"{one} and {other} overlap"
    for tensor in given_program.tensors:
        if tensor.storage in plan.offsets:
            assert plan.offsets[tensor.name] == plan.offsets[tensor.storage]
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.arena_bytes % ALIGNMENT == 0


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
    assert plan == ArenaPlan({"t0": 0}, 48, 48)


@pytest.mark.parametrize(("size", "expected"), [(1, 16), (16, 16), (17, 32), (0, 0)])
def test_aligned(size: int, expected: int) -> None:
    assert aligned(size) == expected


def test_lower_bound_of_intervals() -> None:
    intervals = [Interval("a", 16, 0, 2), Interval("b", 32, 1, 1), Interval("c", 64, 2, 3)]
    assert lower_bound(intervals) == 80


def test_the_plan_of_a_large_graph_stays_near_its_bound() -> None:
    generator = np.random.default_rng(0)
    sizes = [int(n) for n in generator.integers(1, 20000, 60)]
    edges = [([max(0, i - 1), max(0, i - int(generator.integers(1, 6)))], i) for i in range(1, 60)]
    graph = program(sizes, [(sorted(set(inputs)), output) for inputs, output in edges])
    plan = plan_arena(graph)
    check(plan, graph)
    assert plan.arena_bytes <= 1.2 * plan.lower_bound_bytes
