"""What is alive while each layer runs, by hand."""

from __future__ import annotations

from dataclasses import replace

from tests.analysis.graphs import add, convolution, image, square
from tvm_tiny.analysis import NOTHING, Graph, InPlace
from tvm_tiny.analysis.graph import PIXEL, GraphBuilder, Layer, Tensor, Writes
from tvm_tiny.analysis.live_bytes import live_bytes

PIXELS = 8 * 8


def in_pixels(graph: Graph, rules: InPlace) -> list[float | None]:
    """Counts in units of the whole image's pixels."""
    return [None if count is None else count / PIXELS for count in live_bytes(graph, rules)]


def block() -> Graph:
    """Expand 4 to 16, depthwise, project to 4, add."""
    builder = GraphBuilder()
    start = image(builder)
    wide = convolution(builder, convolution(builder, start, 16), 16, square(3))
    return builder.build([add(builder, convolution(builder, wide, 4), start)])


def test_separate() -> None:
    """In + out, and the residual while it is needed."""
    assert in_pixels(block(), NOTHING) == [4 + 16, 16 + 16 + 4, 16 + 4 + 4, 4 + 4 + 4]


def test_all_in_place() -> None:
    """N + 1 channels of a depthwise convolution; the residual becomes the sum."""
    assert in_pixels(block(), InPlace()) == [4 + 16, 16 + 1 + 4, 16 + 4, None]


def test_depthwise_without_a_spare_channel() -> None:
    assert in_pixels(block(), InPlace(spare_channels=0))[1] == 16 + 4


def test_additions_not_fused() -> None:
    rules = InPlace(fused_additions=False)
    assert in_pixels(block(), rules) == [20, 21, 16 + 4 + 4, 4 + 4]
    rules = replace(rules, elements=False)
    assert in_pixels(block(), rules) == [20, 21, 16 + 4 + 4, 4 + 4 + 4]


def test_an_input_with_another_reader_stays() -> None:
    """A depthwise convolution cannot overwrite what an addition still needs."""
    builder = GraphBuilder()
    start = image(builder)
    graph = builder.build([add(builder, convolution(builder, start, 4, square(3)), start)])
    assert in_pixels(graph, InPlace()) == [4 + 4, 4 + 4]


def test_strides_shrink_in_place() -> None:
    builder = GraphBuilder()
    graph = builder.build([convolution(builder, image(builder), 4, square(3, 2))])
    assert in_pixels(graph, InPlace()) == [4 + 1 / 4]
    assert in_pixels(graph, NOTHING) == [4 + 4 / 4]


def test_a_convolution_does_not_write_over_its_own_input() -> None:
    """x + conv(x): the sum needs room of its own while the convolution reads x."""
    builder = GraphBuilder()
    start = image(builder)
    graph = builder.build([add(builder, convolution(builder, start, 4), start)])
    assert in_pixels(graph, InPlace()) == [4 + 4, None]


def test_sums_of_sums() -> None:
    """The second addition finds the first one gone into a convolution."""
    builder = GraphBuilder()
    start = image(builder)
    other = convolution(builder, start, 4, square(1, padding=0))
    first = add(builder, convolution(builder, start, 4), start)
    graph = builder.build([add(builder, first, other)])
    assert in_pixels(graph, InPlace()) == [4 + 4, 4 + 4 + 4, None, 4 + 4]


def test_outputs_stay_alive() -> None:
    builder = GraphBuilder()
    first = convolution(builder, image(builder), 2)
    graph = builder.build([first, convolution(builder, first, 8)])
    assert in_pixels(graph, InPlace()) == [4 + 2, 2 + 8]


def test_branches_count_together() -> None:
    """Two readers of one input, which counts once."""
    builder = GraphBuilder()
    start = image(builder)
    left, right = convolution(builder, start, 8), convolution(builder, start, 8)
    graph = builder.build([add(builder, left, right)])
    assert in_pixels(graph, NOTHING) == [4 + 8, 4 + 8 + 8, 8 + 8 + 8]
    assert in_pixels(graph, InPlace()) == [4 + 8, 4 + 8, None]


def test_a_small_operand_is_no_room() -> None:
    """A product with one number per channel is written over the large operand only."""
    builder = GraphBuilder()
    start = image(builder)
    gate = builder.input(Tensor("gate", 1, 1, 4))
    output = builder.tensor(Tensor("product", 8, 8, 4))
    builder.layer(Layer("multiply", (start, gate), output, window=PIXEL, writes=Writes.BY_ELEMENT))
    assert live_bytes(builder.build([output]), InPlace()) == [PIXELS * 4 + 4]
    assert live_bytes(builder.build([output, start]), InPlace()) == [PIXELS * 8 + 4]
