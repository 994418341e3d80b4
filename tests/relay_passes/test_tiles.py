"""What patches consist of, what they cost, and that they would be wrong without their halos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.relay_passes.test_patches import complete
from tests.support.net_runs import compiled, expected_outputs, inputs_of, run_on_host
from tests.support.quick import quick_first
from tests.support.random_nets import Net, Node, evaluate, program_of_nets, with_kernels
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.choose_kernels import with_less_scratch
from tvm_tiny.relay_passes.patches import make_patches, with_patches
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Patches, Program
from tvm_tiny.schedules import qadd
from tvm_tiny.schedules.dialect import Array, Call, TensorSpec
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count


class Chain:
    """A network of one layer after the other, and residuals."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.values = [TensorSpec((1, *shape), "int8")]
        self.nodes: list[Node] = []
        self.generator = np.random.default_rng(0)

    def add(self, call: Call, *inputs: int) -> int:
        """Add a layer; return the number of its value."""
        self.nodes.append(Node(call, inputs or (len(self.values) - 1,)))
        self.values.append(call.output)
        return len(self.values) - 1

    def window(self, kernel: int, stride: int = 1, channels: int = 0) -> int:
        """Add a convolution, depthwise without `channels`."""
        depth = self.values[-1].shape[3]
        shape = (channels, kernel, kernel, depth) if channels else (kernel, kernel, depth)
        count = channels or depth
        fields: dict[str, Any] = {
            "strides": (stride, stride),
            "padding": (kernel // 2,) * 4,
            "dilation": (1, 1),
            "input_zero_point": 3,
            "output_zero_point": 3,
            "clamp_min": -128,
            "clamp_max": 127,
        }
        constants = (
            self.generator.integers(-127, 128, shape, np.int8),
            np.zeros(count, np.int32),
            np.full(count, 1 << 30, np.int32),
            np.full(count, -6, np.int32),
        )
        if channels:
            return self.add(
                Call(QCONV2D, QConv2DAttributes(**fields), (self.values[-1], *constants))
            )
        attrs = QDepthwiseConv2DAttributes(**fields)
        return self.add(Call(QDEPTHWISE_CONV2D, attrs, (self.values[-1], *constants)))

    def bottleneck(self, kernel: int, expansion: int, channels: int, stride: int) -> int:
        """Add an inverted residual."""
        start = len(self.values) - 1
        depth = self.values[-1].shape[3]
        if expansion > 1:
            self.window(1, 1, depth * expansion)
        self.window(kernel, stride)
        end = self.window(1, 1, channels)
        if stride == 1 and depth == channels:
            attrs = qadd.attributes((0.1, 0.1, 0.1), (3, 3, 3))
            both = (self.values[end], self.values[start])
            return self.add(Call(qadd.QADD, attrs, both), end, start)
        return end

    def net(self, *outputs: int) -> Net:
        """Return it; the last value is an output in any case."""
        return Net(self.values[0], tuple(self.nodes), (*outputs, len(self.values) - 1))


def mobilenet_v2(first: int) -> Net:
    """Return the stem and the first blocks of MobileNetV2 1.0 for images of 224 x 224."""
    chain = Chain((224, 224, 3))
    chain.window(3, 2, 32)
    blocks = [(1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1), (6, 64, 2)]
    for expansion, channels, stride in blocks[:first]:
        chain.bottleneck(3, expansion, channels, stride)
    return chain.net()


def patches_of(net: Net, grid: tuple[int, int]) -> Patches:
    program = program_of_nets([net])
    made = make_patches(program, 0, len(net.nodes), grid)
    assert made is not None
    return made


# tiles of the image (with their borders) and multiply-accumulates as in MCUNetV2, Table 1
@quick_first("blocks, tile", [(2, 63), (3, 71), (4, 75), (5, 91)])
def test_tiles_of_mobilenet_v2(blocks: int, tile: int) -> None:
    assert patches_of(mobilenet_v2(blocks), (4, 4)).tiles[0].rows.extent == tile


def test_both_counters_of_mobilenet_v2() -> None:
    patches = patches_of(mobilenet_v2(4), (4, 4))
    base = sum(layer.macs for layer in patches.layers)
    assert base == pytest.approx(91.3e6, rel=1e-3)
    assert patches.executed_macs == pytest.approx(129.5e6, rel=1e-3)
    assert patches.clipped_macs == pytest.approx(119.2e6, rel=1e-3)


def small() -> Net:
    """Return a net whose size 24 is cut in two without a rest."""
    chain = Chain((24, 24, 4))
    chain.window(3, 1, 8)
    chain.bottleneck(5, 2, 8, 1)
    chain.window(3, 2, 4)
    return chain.net()


def run(net: Net, patches: Patches, inputs: Sequence[Array]) -> Array:
    program = program_of_nets([net])
    return run_on_host(complete(program, [patches, *program.steps[len(patches.layers) :]]), inputs)[
        0
    ]


def test_without_halos_the_result_is_another() -> None:
    net = small()
    inputs = inputs_of([net])
    given = run(net, patches_of(net, (2, 2)), inputs)
    for sample, output in zip(inputs[0], given, strict=True):
        part = replace(net, input=TensorSpec((1, 12, 12, 4), "int8"))
        rows = [
            np.concatenate(
                [evaluate(part, sample[np.newaxis, y : y + 12, x : x + 12])[0] for x in (0, 12)],
                axis=2,
            )
            for y in (0, 12)
        ]
        apart = np.concatenate(rows, axis=1)
        whole = evaluate(net, sample[np.newaxis])[0]
        assert (output.reshape(whole.shape) == whole).all()
        different = np.argwhere((apart != whole).any(axis=(0, 3)))
        assert len(different)
        assert set(different.ravel().tolist()) & {5, 6}, "at the borders of parts"
        assert (apart[0, :3, :3] == whole[0, :3, :3]).all(), "far from them nothing changes"


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"lead": 1}, {"fill": 1}])
def test_tiles_at_other_places_or_of_other_borders_give_other_results(
    change: dict[str, int],
) -> None:
    net = small()
    patches = patches_of(net, (2, 2))
    first = patches.tiles[0]
    assert first.fill is not None
    rows = replace(first.rows, lead=first.rows.lead + change.get("lead", 0))
    moved = replace(first, rows=rows, fill=first.fill + change.get("fill", 0))
    inputs = inputs_of([net])
    changed = run(net, replace(patches, tiles=(moved, *patches.tiles[1:])), inputs)
    assert (changed != run(net, patches, inputs)).any()


def test_code_is_the_same_for_any_number_of_patches() -> None:
    net = small()
    program = program_of_nets([net])
    texts = [
        compiled(with_kernels(with_patches(program, grid, 4))).code.files["nets.c"]
        for grid in ((2, 2), (3, 4))
    ]
    # but for the last patches, which lie over those before them where they are too many
    lines = [sum("const int32_t" not in line for line in text.splitlines()) for text in texts]
    assert lines[0] == lines[1]


def test_an_output_from_inside_exists_whole() -> None:
    chain = Chain((15, 11, 3))
    inside = chain.window(3, 1, 5)
    chain.window(3, 2, 8)
    net = chain.net(inside)
    program = program_of_nets([net])
    made = with_patches(program, (2, 3), 2)
    (step,) = made.steps
    assert isinstance(step, Patches) and len(step.outputs) == 2
    inputs = inputs_of([net])
    ((inner, last),) = expected_outputs([net], inputs)
    given = run_on_host(made, inputs)
    assert (given[0].reshape(inner.shape) == inner).all()
    assert (given[1].reshape(last.shape) == last).all()


def test_tables_of_the_input_come_before_the_patches() -> None:
    chain = Chain((16, 16, 4))
    table = np.arange(-128, 128).astype(np.int8)
    chain.add(Call(LOOKUP, LookupAttributes("identity"), (chain.values[0], table)))
    chain.window(3, 2, 4)
    made = with_patches(program_of_nets([chain.net()]), (2, 2), 2)
    assert [isinstance(step, Patches) for step in made.steps] == [False, True]


def pooled() -> Program:
    chain = Chain((12, 12, 4))
    chain.window(3, 1, 4)
    attrs = QMeanAttributes((1, 2), 1, 0, 0, *fold_count(1.0, 144))
    chain.add(Call(QMEAN, attrs, (chain.values[-1],)))
    return program_of_nets([chain.net()])


def test_what_can_not_be_cut_is_named() -> None:
    program = pooled()
    with pytest.raises(UnsupportedError, match="n0_1: can't run patch by patch: qmean needs"):
        with_patches(program, (2, 2), 2)
    assert make_patches(program, 0, 2, (2, 2)) is None
    assert make_patches(program, 0, 1, (2, 2)) is not None


@pytest.mark.parametrize(("grid", "split"), [((2, 2), 0), ((2, 2), 3), ((0, 2), 1)])
def test_splits_and_grids_that_do_not_exist(grid: tuple[int, int], split: int) -> None:
    with pytest.raises(UnsupportedError, match="split 1 to 2"):
        with_patches(pooled(), grid, split)


def test_one_patch_is_the_program_itself() -> None:
    program = pooled()
    assert with_patches(program, (1, 1), 1) is program


def test_kernels_of_less_scratch() -> None:
    chain = Chain((16, 16, 16))
    chain.window(5, 1, 32)
    program = with_patches(program_of_nets([chain.net()], ["dsp"]), (2, 2), 1, ["dsp"])
    plan = plan_arena(program)
    smaller = with_less_scratch(program, plan.arena_bytes - 16)
    assert smaller is not None and plan_arena(smaller).arena_bytes < plan.arena_bytes
