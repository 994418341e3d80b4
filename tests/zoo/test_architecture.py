"""Architectures: their steps, and graphs of those."""

from __future__ import annotations

from tvm_tiny.zoo import Architecture, Block
from tvm_tiny.zoo.architecture import IMAGE, Step, walk

NET = Architecture(
    "net",
    32,
    stem=8,
    blocks=(Block(8, expanded=0), Block(16, 5, 2, 24), Block(16, 3, 1, 48, residual=True)),
    head=64,
    classes=10,
)


def test_steps() -> None:
    kinds = [(step.name, step.kind, step.channels) for step in NET.steps()]
    assert kinds == [
        ("stem", "conv2d", 8),
        ("block0_depthwise", "conv2d", 8),
        ("block0_project", "conv2d", 8),
        ("block1_expand", "conv2d", 24),
        ("block1_depthwise", "conv2d", 24),
        ("block1_project", "conv2d", 16),
        ("block2_expand", "conv2d", 48),
        ("block2_depthwise", "conv2d", 48),
        ("block2_project", "conv2d", 16),
        ("block2_add", "add", 16),
        ("head", "conv2d", 64),
        ("pool", "mean", 64),
        ("classifier", "dense", 10),
    ]


def test_steps_know_their_inputs() -> None:
    steps = NET.steps()
    assert steps[0].inputs == (IMAGE,)
    assert steps[9].inputs == (8, 5)
    assert all(step.inputs == (index - 1,) for index, step in enumerate(steps) if index != 9)


def test_projections_are_not_activated() -> None:
    activated = {step.name: step.activated for step in NET.steps() if step.kind == "conv2d"}
    assert [name for name, is_activated in activated.items() if not is_activated] == [
        f"block{number}_project" for number in range(3)
    ]


def test_walk_gives_sizes() -> None:
    sizes = {step.name: (size, depth) for step, size, depth in walk(NET)}
    assert sizes["stem"] == ((16, 16), 3)
    assert sizes["block1_depthwise"] == ((8, 8), 24)
    assert sizes["pool"] == ((1, 1), 64)


def test_splits_of_blocks() -> None:
    assert [NET.convolutions(blocks) for blocks in range(4)] == [1, 3, 6, 9]


def test_the_last_steps_without_a_head() -> None:
    net = Architecture("net", 32, 8, (Block(16),), classes=10)
    assert net.steps()[-2:] == (
        Step("mean", "pool", (2,), 16),
        Step("dense", "classifier", (3,), 10),
    )


def test_another_resolution() -> None:
    assert NET.at(64).graph().layers[0].macs == 4 * NET.graph().layers[0].macs
