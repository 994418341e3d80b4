"""Receptive fields: against the definition, pixel by pixel, on random graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.graphs import add, convolution, image, random_graph, square
from tvm_tiny.analysis import Patch, memory, patches
from tvm_tiny.analysis.graph import Graph, GraphBuilder, Layer, Tensor
from tvm_tiny.analysis.patches import COLUMNS, ROWS, Span
from tvm_tiny.errors import InputError, ModelError


def needed_rows(graph: Graph, end: int, rows: range) -> list[set[int]]:
    """Return which rows of each tensor some rows of the stage's results depend on."""
    needed: list[set[int]] = [set() for _ in graph.tensors]
    for tensor in graph.part(0, end).outputs:
        needed[tensor] = set(rows)
    for layer in reversed(graph.layers[:end]):
        assert layer.window is not None
        for row in needed[layer.output]:
            first = row * layer.window.strides[0] - layer.window.padding[0]
            for tensor in layer.inputs:
                taps = set(range(first, first + layer.window.kernel[0]))
                needed[tensor] |= taps & set(range(graph.tensors[tensor].rows))
    return needed


@pytest.mark.parametrize("seed", range(20))
def test_clipped_spans_are_what_is_needed(seed: int) -> None:
    graph = random_graph(seed)
    end = len(graph.layers)
    for tile in patches.tiles(graph.tensors[graph.outputs[0]].rows, 3):
        expected = needed_rows(graph, end, range(tile.first, tile.last))
        for span, rows in zip(patches.spans(graph, end, ROWS, tile, True), expected, strict=True):
            assert rows == (set(range(span.first, span.last)) if span else set())


@pytest.mark.parametrize("seed", range(20))
def test_full_patches_hold_every_patch(seed: int) -> None:
    graph = random_graph(seed)
    end = len(graph.layers)
    grid = patches.tiles(graph.tensors[graph.outputs[0]].columns, 3)
    full = patches.buffered(
        graph, end, COLUMNS, patches.largest(graph, end, COLUMNS, grid[0].length)
    )
    for tile in grid:
        clipped = patches.spans(graph, end, COLUMNS, tile, True)
        for length, span in zip(full, clipped, strict=True):
            assert span is None or span.length <= length


@pytest.mark.parametrize("seed", range(10))
def test_one_patch_costs_nothing(seed: int) -> None:
    graph = random_graph(seed)
    split = sum(layer.is_convolution for layer in graph.layers)
    patched = memory(graph, patch=(1, 1, split)).patched
    assert patched is not None
    assert patched.stage_macs_clipped <= patched.stage_macs
    assert patched.stage_macs_full <= patched.stage_macs


def test_backward_by_the_formula() -> None:
    """t -> (t - 1) * stride + kernel."""
    builder = GraphBuilder()
    first = convolution(builder, image(builder, (64, 64)), 8, square(3, 2))
    convolution(builder, convolution(builder, first, 8, square(5)), 16, square(7, 2))
    graph = builder.build([3])
    assert patches.largest(graph, 3, ROWS, 4) == [35, 17, 13, 4]


@pytest.mark.parametrize(
    ("length", "count", "sizes"), [(28, 4, [7] * 4), (28, 3, [10, 10, 8]), (7, 5, [2, 2, 2, 1])]
)
def test_tiles_cover_the_result(length: int, count: int, sizes: list[int]) -> None:
    found = patches.tiles(length, count)
    assert [tile.length for tile in found] == sizes
    assert [tile.first for tile in found[1:]] == [tile.last for tile in found[:-1]]


def test_a_hull_holds_both() -> None:
    assert Span(2, 4).hull(Span(-1, 3)) == Span(-1, 4)
    assert Span(2, 4).hull(None) == Span(2, 4)


def residual() -> Graph:
    """A convolution, a block with a residual, a convolution; all 8x8, 4 channels outside."""
    builder = GraphBuilder()
    start = convolution(builder, image(builder, channels=3), 4, square(3))
    wide = convolution(builder, convolution(builder, start, 16), 16, square(3))
    last = add(builder, convolution(builder, wide, 4), start)
    return builder.build([convolution(builder, last, 8)])


def test_an_addition_belongs_to_the_stage_of_its_convolution() -> None:
    assert [patches.stage_end(residual(), split) for split in (1, 2, 3, 4, 5)] == [1, 2, 3, 5, 6]


def test_a_result_that_the_stage_reads_too_counts_twice() -> None:
    """Split inside a residual: the block's input is a result, and as a patch an operand."""
    graph = residual()
    patched = memory(graph, patch=(2, 2, 2)).patched
    assert patched is not None
    assert patched.output_bytes == 8 * 8 * (4 + 16)
    assert patched.patch_bytes == 6 * 6 * 3 + 4 * 4 * 4


def test_grids_need_not_be_square() -> None:
    graph = residual()
    wide, high = memory(graph, patch=(1, 4, 4)).patched, memory(graph, patch=(4, 1, 4)).patched
    assert wide is not None and high is not None
    assert wide.input_patch == (12, 6) and high.input_patch == (6, 12)
    assert wide.stage_macs_clipped == high.stage_macs_clipped


def test_an_input_that_layers_behind_read_is_kept() -> None:
    builder = GraphBuilder()
    start = image(builder)
    graph = builder.build([add(builder, convolution(builder, start, 4, square(3)), start)])
    graph = replace(graph, layers=(graph.layers[0], replace(graph.layers[1], operator="concat")))
    patched = memory(graph, patch=(2, 2, 1)).patched
    assert patched is not None
    assert (patched.output_bytes, patched.image_bytes) == (2 * 256, 0)


def test_empty_patches_are_left_out() -> None:
    """8 rows in 5 patches of 2 rows: the last would have none."""
    patched = memory(residual(), patch=(5, 2, 4)).patched
    assert patched is not None
    assert patched.patch == Patch(4, 2, 4)
    assert patched == memory(residual(), patch=(4, 2, 4)).patched


def test_patch_text() -> None:
    assert Patch.parse("4x2@11") == Patch(4, 2, 11)
    assert str(Patch(4, 2, 11)) == "4x2@11"
    for wrong in ("4x4", "0x4@3", "4x4@", "four"):
        with pytest.raises(InputError, match="is not a patch"):
            Patch.parse(wrong)


def test_splits_beyond_the_model() -> None:
    for split in (0, 6):
        with pytest.raises(ModelError, match=rf"limit 1 to 5, found {split}"):
            memory(residual(), patch=(2, 2, split))
    with pytest.raises(InputError, match="at least one patch"):
        memory(residual(), patch=(0, 2, 1))


def test_layers_that_need_everything_end_a_stage() -> None:
    builder = GraphBuilder()
    source = convolution(builder, image(builder), 4, square(3))
    mean = builder.layer(Layer("mean", (source,), builder.tensor(Tensor("average", 1, 1, 4))))
    graph = builder.build([convolution(builder, mean, 8)])
    with pytest.raises(ModelError, match="average: mean needs its whole input"):
        memory(graph, patch=(2, 2, 2))


def test_results_of_different_sizes() -> None:
    builder = GraphBuilder()
    large = convolution(builder, image(builder), 4, square(3))
    small = convolution(builder, large, 8, square(3, 2))
    graph = builder.build([small, convolution(builder, large, 2)])
    with pytest.raises(ModelError, match="differ in size: t1 8x8, t2 4x4"):
        memory(graph, patch=(2, 2, 2))


def test_work_of_patches_adds_up() -> None:
    """The clipped counter, pixel by pixel."""
    graph = random_graph(3)
    end = len(graph.layers)
    result = graph.tensors[graph.outputs[0]]
    total = 0
    for rows in patches.tiles(result.rows, 2):
        for columns in patches.tiles(result.columns, 3):
            spans = [
                patches.spans(graph, end, axis, tile, True)
                for axis, tile in ((ROWS, rows), (COLUMNS, columns))
            ]
            for layer in graph.layers:
                height, width = (span[layer.output] for span in spans)
                assert height is not None and width is not None
                whole = graph.tensors[layer.output]
                pixels = np.prod([height.length, width.length])
                total += layer.macs * int(pixels) // (whole.rows * whole.columns)
    split = sum(layer.is_convolution for layer in graph.layers)
    patched = memory(graph, patch=(2, 3, split)).patched
    assert patched is not None and patched.stage_macs_clipped == total
