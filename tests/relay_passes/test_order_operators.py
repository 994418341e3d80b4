from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import ir, relax

from tests.relay_passes.modules import module, tensor
from tests.support.evaluate_tiny import evaluate
from tests.support.layers import Layer as NamedLayer
from tests.support.quick import quick_first
from tests.support.work import calls_of
from tvm_tiny.pipeline import compile_module
from tvm_tiny.relay_passes._intervals import live_intervals
from tvm_tiny.relay_passes._liveness import liveness_of
from tvm_tiny.relay_passes._overlaps import most_shared, overlap_of
from tvm_tiny.relay_passes.order_operators import Order, find_order, order_operators
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Layer, Port, Program, Tensor, program_of
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.dialect import Kernel, Overlap, TensorSpec
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image

KB = 1 << 10
DSP = frozenset({"dsp"})
IN_PLACE = Overlap(0, is_exact=True)


@dataclass
class Graph:
    """A program in the making: layers in the order in which they are added."""

    sizes: dict[str, int] = field(default_factory=dict)
    storages: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def input(self, name: str, size: int) -> str:
        """Add an input of the model."""
        self.sizes[name], self.storages[name] = size, name
        return name

    def view(self, name: str, of: str) -> str:
        """Add a view."""
        self.sizes[name], self.storages[name] = self.sizes[of], self.storages[of]
        return name

    def add(
        self, name: str, size: int, *inputs: str, scratch: int = 0, overlaps: Sequence[Any] = ()
    ) -> str:
        """Add a layer that gives a tensor of its name."""
        spec = TensorSpec((scratch,), "int8") if scratch else None
        kernel = Kernel("none", None, scratch=spec, overlaps=tuple(overlaps))
        candidate = Candidate("tiny.none", "none", 0, lambda: kernel)
        self.layers.append(Layer(name, "op", inputs, self.input(name, size), candidate, 0))
        return name

    def program(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        """Return it with scratch, which stands behind the outputs of its layers."""
        tensors = tuple(
            Tensor(name, TensorSpec((size,), "int8"), self.storages[name])
            for name, size in self.sizes.items()
        )
        ports = [tuple(Port(n, n, None, None) for n in names) for names in (inputs, outputs)]
        program = Program(tensors, tuple(self.layers), *ports)
        return program.with_kernels([layer.chosen for layer in self.layers])


def names_of(program: Program) -> list[str]:
    return [layer.name for layer in program.layers]


def peak_of(program: Program) -> int:
    """Return the most bytes that a layer needs, straight from their definition."""
    storage_of = {tensor.name: tensor.storage for tensor in program.tensors}
    intervals = live_intervals(program)
    sizes = {interval.name: interval.size for interval in intervals}
    needed = [sum(sizes[port.tensor] for port in program.inputs)]
    for step, layer in enumerate(program.layers):
        live = [i for i in intervals if i.first <= step <= i.last]
        dying = {i.name for i in live if i.last == step} & {storage_of[n] for n in layer.inputs}
        overlaps = [(sizes[n], overlap_of(layer, storage_of, n)) for n in sorted(dying)]
        allowed = [(size, overlap) for size, overlap in overlaps if overlap is not None]
        needed.append(sum(i.size for i in live) - most_shared(sizes[layer.output], allowed))
    return max(needed)


def all_orders(program: Program) -> Iterator[Program]:
    """Yield the program in each order that gives every layer what it reads."""

    def grow(done: list[Layer], left: list[Layer]) -> Iterator[list[Layer]]:
        if not left:
            yield done
        unmade = {storage_of[layer.output] for layer in left}
        for layer in left:
            if not unmade & {storage_of[name] for name in layer.inputs}:
                yield from grow([*done, layer], [other for other in left if other is not layer])

    storage_of = {tensor.name: tensor.storage for tensor in program.tensors}
    for layers in grow([], list(program.layers)):
        yield replace(program, steps=tuple(layers))


def is_runnable(program: Program) -> bool:
    """Whether each tensor is made before it is read, and stands behind its storage."""
    storage_of = {tensor.name: tensor.storage for tensor in program.tensors}
    made = {storage_of[port.tensor] for port in program.inputs}
    for layer in program.layers:
        if not made >= {storage_of[name] for name in layer.inputs}:
            return False
        made.add(storage_of[layer.output])
    seen: set[str] = set()
    for one in program.tensors:
        seen.add(one.name)
        if one.storage not in seen:
            return False
    return True


# --- known best orders ------------------------------------------------------------------------


def test_the_branch_of_the_higher_peak_and_the_smaller_result_goes_first() -> None:
    graph = Graph()
    graph.input("x", 64)
    graph.add("thin", 256, "x")
    graph.add("wide", 1024, "x")
    graph.add("narrow", 32, "wide")
    graph.add("sum", 256, "thin", "narrow")
    program = graph.program(["x"], ["sum"])
    ordered = order_operators(program)
    assert names_of(ordered) == ["wide", "narrow", "thin", "sum"]
    assert (peak_of(program), peak_of(ordered)) == (64 + 256 + 1024, 64 + 1024 + 32)
    assert find_order(program) == Order((1, 2, 0, 3), 64 + 1024 + 32, True)


def test_branches_run_one_after_the_other() -> None:
    """An inception block, listed breadth first as some exporters do."""
    graph = Graph()
    graph.input("x", KB)
    branches = "abcd"
    for branch in branches:
        graph.add(f"{branch}0", 2 * KB, "x")
    for branch in branches:
        graph.add(f"{branch}1", 8 * KB, f"{branch}0")
    for branch in branches:
        graph.add(f"{branch}2", KB, f"{branch}1")
    graph.add("joined", 4 * KB, *(f"{branch}2" for branch in branches))
    graph.add("end", KB, "joined")
    program = graph.program(["x"], ["end"])
    ordered = order_operators(program)
    assert names_of(ordered) == [*(f"{b}{n}" for b in branches for n in range(3)), "joined", "end"]
    # three results wait while the last branch is widest
    assert peak_of(ordered) == plan_arena(ordered).lower_bound_bytes == (3 + 2 + 8) * KB
    assert peak_of(program) == (3 * 8 + 2 + 8) * KB


def inverted_residual(graph: Graph, name: str, source: str, size: int, projected: str = "") -> str:
    """Add expand, depthwise in place, project and the sum with a shortcut."""
    graph.add(f"{name}_expand", 6 * size, source, scratch=64)
    graph.add(f"{name}_depthwise", 6 * size, f"{name}_expand", overlaps=[IN_PLACE])
    graph.add(f"{name}_project", size, f"{name}_depthwise")
    sources = (f"{name}_project", projected or source)
    return graph.add(name, size, *sources, overlaps=[IN_PLACE, IN_PLACE])


def test_inverted_residuals_have_but_one_order() -> None:
    graph = Graph()
    first = inverted_residual(graph, "one", graph.input("x", KB), KB)
    program = graph.program(["x"], [inverted_residual(graph, "two", first, KB)])
    assert order_operators(program) is program
    # in place there is one expanded tensor only; beside it the residual, and scratch or result
    assert find_order(program) == Order(tuple(range(8)), (1 + 6 + 1) * KB, True)


def test_the_shortcut_of_an_inverted_residual_waits() -> None:
    graph = Graph()
    graph.input("x", KB)
    graph.add("shortcut", 2 * KB, "x")
    program = graph.program(["x"], [inverted_residual(graph, "sum", "x", 2 * KB, "shortcut")])
    ordered = order_operators(program)
    names = ["sum_expand", "sum_depthwise", "sum_project", "shortcut", "sum"]
    assert names_of(ordered) == names
    assert (peak_of(program), peak_of(ordered)) == ((2 + 12 + 2) * KB, (1 + 12 + 2) * KB)


def test_heads_run_where_their_input_is_made() -> None:
    """Two scales, each with two heads, listed behind the whole backbone."""
    graph = Graph()
    graph.input("x", 4 * KB)
    graph.add("fine", 8 * KB, "x")
    graph.add("down", 16 * KB, "fine")
    graph.add("coarse", 2 * KB, "down")
    heads = []
    for scale, size in (("coarse", 128), ("fine", 512)):
        for head in ("boxes", "classes"):
            graph.add(f"{scale}_{head}_0", 4 * size, scale)
            heads.append(graph.add(f"{scale}_{head}", size, f"{scale}_{head}_0"))
    program = graph.program(["x"], heads)
    ordered = order_operators(program)
    assert is_runnable(ordered)
    assert ordered.outputs == program.outputs
    fine = [f"fine_{head}{part}" for head in ("boxes", "classes") for part in ("_0", "")]
    assert names_of(ordered)[:6] == ["fine", *fine, "down"]
    # results of the fine heads wait until the end, but `fine` doesn't wait for `coarse`
    assert (peak_of(program), peak_of(ordered)) == ((8 + 16 + 2) * KB, (8 + 16 + 1) * KB)


def test_an_input_that_dies_last_goes_under_the_output() -> None:
    """Which of two layers reads an input last decides which may overwrite it."""
    graph = Graph()
    graph.input("x", 4 * KB)
    graph.add("over", 4 * KB, "x", overlaps=[IN_PLACE])
    graph.add("beside", KB, "x")
    graph.add("end", 16, "over", "beside")
    program = graph.program(["x"], ["end"])
    ordered = order_operators(program)
    assert names_of(ordered) == ["beside", "over", "end"]
    assert (peak_of(program), peak_of(ordered)) == (9 * KB, 5 * KB + 16)


def test_scratch_counts() -> None:
    graph = Graph()
    graph.input("x", KB)
    graph.add("hungry", KB, "x", scratch=4 * KB)
    graph.add("modest", 3 * KB, "x")
    graph.add("sum", KB, "modest", "hungry")
    program = graph.program(["x"], ["sum"])
    assert order_operators(program) is program
    swapped = replace(program, steps=(program.steps[1], program.steps[0], program.steps[2]))
    ordered = order_operators(swapped)
    assert names_of(ordered) == ["hungry", "modest", "sum"]
    assert [t.name for t in ordered.tensors] == ["x", "hungry", "hungry_scratch", "modest", "sum"]


def test_views_keep_their_storage() -> None:
    graph = Graph()
    graph.input("x", KB)
    graph.add("wide", 4 * KB, "x")
    graph.add("late", 2 * KB, "x")
    graph.view("flat", "wide")
    graph.add("narrow", 64, "flat")
    graph.add("sum", 64, "narrow", "late")
    ordered = order_operators(graph.program(["x"], ["sum"]))
    assert is_runnable(ordered)
    names = [one.name for one in ordered.tensors]
    assert names == ["x", "wide", "flat", "narrow", "late", "sum"]


def test_a_program_without_layers() -> None:
    graph = Graph()
    program = graph.program([graph.input("x", KB)], ["x"])
    assert order_operators(program) is program
    assert find_order(program) == Order((), KB, True)


# --- against all orders -----------------------------------------------------------------------


def random_graph(seed: int, count: int, window: int = 1000) -> Program:
    """Return a graph of many kinds: heads, dead ends, views, scratch, outputs over inputs."""
    generator = random.Random(seed)
    graph = Graph()
    names = [graph.input(f"x{n}", generator.randint(1, 3000)) for n in range(1 + seed % 2)]
    inputs = list(names)
    for number in range(count):
        recent = names[-window:]
        sources = generator.sample(recent, min(generator.choice((1, 1, 2, 3)), len(recent)))
        overlaps = [generator.choice((None, IN_PLACE, Overlap(-20), Overlap(9))) for _ in sources]
        scratch, size = generator.choice((0, 0, 500)), generator.randint(1, 3000)
        name = graph.add(f"t{number}", size, *sources, scratch=scratch, overlaps=overlaps)
        names.append(name)
        if generator.random() < 0.2:
            names.append(graph.view(f"v{number}", name))
    outputs = sorted({names[-1], *(name for name in names if generator.random() < 0.1)})
    return graph.program(inputs, outputs)


@quick_first("first_seed", range(0, 240, 40))
def test_no_order_is_better(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 40):
        program = random_graph(seed, 1 + seed % 8)
        order, ordered = find_order(program), order_operators(program)
        least = min(map(peak_of, all_orders(program)))
        assert order.is_least
        assert order.peak_bytes == peak_of(ordered) == least, seed
        # the plan's bound also knows of outputs that drift over several layers
        assert order.peak_bytes <= plan_arena(ordered).lower_bound_bytes
        assert is_runnable(ordered)
        assert sorted(names_of(ordered)) == sorted(names_of(program))
        assert {*ordered.tensors} == {*program.tensors}
        assert (ordered is program) == (order.layers == tuple(range(len(program.layers))))
        if ordered is not program:
            assert least <= peak_of(program)
            assert order_operators(ordered) is ordered


def test_nothing_changes_without_a_gain() -> None:
    """The one part that all lies in has the same peak in each order: that of the given stays."""
    graph = Graph()
    graph.input("x", KB)
    for branch in "dbca":
        graph.add(branch, KB, "x")
    graph.add("sum", KB, *"abcd")
    program = graph.program(["x"], ["sum"])
    assert {peak_of(order) for order in all_orders(program)} == {5 * KB}
    assert order_operators(program) is program


def test_only_what_is_fullest_changes() -> None:
    """Of two blocks that could be better ordered, the second never is as full as the first."""
    graph = Graph()
    graph.input("x", KB)
    for block, source, size in (("a", "x", 8 * KB), ("b", "a", 4 * KB)):
        for branch in (0, 1):
            graph.add(f"{block}{branch}0", size, source)
        for branch in (0, 1):
            graph.add(f"{block}{branch}1", 256, f"{block}{branch}0")
        graph.add(block, 512, f"{block}01", f"{block}11")
    ordered = order_operators(graph.program(["x"], ["b"]))
    first, second = ["a00", "a01", "a10", "a11", "a"], ["b00", "b10", "b01", "b11", "b"]
    assert names_of(ordered) == first + second


@pytest.mark.slow
@pytest.mark.parametrize("window", [4, 10, 30, 1000])
def test_a_large_graph_takes_little_work(window: int) -> None:
    """A million calls are about half a second."""
    program = random_graph(1, 200, window)
    assert calls_of(lambda: find_order(program)) < 2e6
    order = find_order(program)
    assert order == find_order(program)
    assert order.peak_bytes < peak_of(program)
    assert order.peak_bytes == peak_of(order_operators(program))


def test_what_is_too_large_says_so_and_is_not_worse() -> None:
    for seed in range(20):
        program = random_graph(seed, 12)
        exact, quick = find_order(program), find_order(program, budget=20)
        assert exact.is_least
        assert exact.peak_bytes <= quick.peak_bytes <= peak_of(program)
        assert quick.is_least <= (quick.peak_bytes == exact.peak_bytes)
    assert not find_order(random_graph(0, 200), budget=20).is_least


def test_parts_end_where_all_that_follows_needs_all_before() -> None:
    """Pairs of layers that all read both of the pair before: 2^20 orders, but no choice."""
    graph = Graph()
    graph.input("x", KB)
    pair = ["x"]
    for number in range(20):
        pair = [graph.add(f"{side}{number}", 64 * (number + 1), *pair) for side in "ab"]
    program = graph.program(["x"], pair)
    assert find_order(program, budget=10) == Order(tuple(range(40)), 64 * (19 * 2 + 20 * 2), True)


def test_every_layer_needs_its_least_in_each_order() -> None:
    for seed in range(30):
        liveness = liveness_of(random_graph(seed, 12))
        ancestors, descendants = liveness.relatives()
        done, live = liveness.start, liveness.live_at_start
        for layer in range(12):
            needed, live = liveness.step(done, live, layer)
            assert liveness.least(layer, ancestors[layer], descendants[layer]) <= needed
            done |= 1 << layer


# --- a real net -------------------------------------------------------------------------------


def layer_of(name: str, *inputs: Any) -> Any:
    """Return a named layer of given inputs."""
    call = NamedLayer.parse(name).call()
    return ir.Call(call.op, [*inputs, *call.args[len(inputs) :]], attrs=call.attrs)


def branched(emit: Any, x: Any) -> Any:
    """Two inverted bottlenecks side by side, breadth first, and two heads on their sum."""
    wide = [emit(layer_of(f"conv1x1 16x16x8->{n}", x)) for n in (48, 40, 32)]
    deep = [
        emit(layer_of(f"dw3x3s2 16x16x{n}", data))
        for n, data in zip((48, 40, 32), wide, strict=True)
    ]
    thin = [
        emit(layer_of(f"conv1x1 8x8x{n}->12", data))
        for n, data in zip((48, 40, 32), deep, strict=True)
    ]
    total = emit(layer_of("add 8x8x12", thin[0], emit(layer_of("add 8x8x12", *thin[1:]))))
    heads = [emit(layer_of(f"conv3x3 8x8x12->{n}", total)) for n in (24, 8)]
    boxes, classes = (
        emit(layer_of(f"avgpool 8x8x{n}", h)) for n, h in zip((24, 8), heads, strict=True)
    )
    return relax.Tuple([boxes, emit(relax.op.reshape(classes, (1, 8)))])


def test_a_branched_net_keeps_its_bits(tmp_path: Path) -> None:
    net = module([tensor("x", (1, 16, 16, 8))], branched)
    given = program_of(net, DSP)
    compiled = compile_module(net, "m", DSP)
    assert names_of(compiled.program) != names_of(given)
    assert compiled.plan.arena_bytes < 0.6 * plan_arena(given).arena_bytes
    sample = np.random.default_rng(0).integers(-128, 128, (1, 16, 16, 8), np.int8)
    raw = host.run(build_host_image(compiled.code.files, "m", tmp_path), sample.tobytes())
    expected = evaluate(net, sample)
    assert raw.output_bytes == b"".join(values.tobytes() for values in expected)
