"""Figures of the MCUNet papers, from architectures alone. kB are 1024 bytes, as they count.

The papers' depthwise convolutions run in place: `InPlace()`; without, `NOTHING`. `blocks` counts
blocks behind the stem, as the papers do; `Architecture.convolutions` makes a split of it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.shared import shared_path
from tests.support.work import calls_of
from tests.zoo.published import MCUNET, Published, architecture
from tvm_tiny import memory, zoo
from tvm_tiny.analysis import NOTHING, Graph, InPlace, MemoryReport, PatchMemory
from tvm_tiny.zoo import Architecture


def patched(net: Architecture | Graph, split: int, grid: int = 4) -> PatchMemory:
    found = memory(net, patch=(grid, grid, split)).patched
    assert found is not None
    return found


def by_blocks(net: Architecture, blocks: int, grid: int = 4) -> PatchMemory:
    return patched(net, net.convolutions(blocks), grid)


def kilobytes(count: int) -> float:
    return round(count / 1024, 1)


def percent(count: int, base: int) -> float:
    return round(100 * count / base - 100, 1)


def millions(count: int, digits: int = 1) -> float:
    return round(count / 1e6, digits)


# --- MCUNet: whole networks ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MCUNET)
def test_work_and_parameters(name: str) -> None:
    published = MCUNET[name]
    report = memory(published.net)
    if published.macs:
        assert f"{report.macs / 1e6:.2f}" == published.macs
    if published.parameters:
        assert f"{report.parameters / 1e6:.3f}" == published.parameters


@pytest.mark.parametrize("name", MCUNET)
@pytest.mark.parametrize("rules", [InPlace(), InPlace(spare_channels=0)])
def test_peak_in_place(name: str, rules: InPlace) -> None:
    assert memory(MCUNET[name].net, in_place=rules).peak_in_place_bytes == MCUNET[name].peak


@pytest.mark.parametrize(
    ("name", "separate", "in_place"),
    [
        ("mbv2-w0.35", 303.8, 283.5),
        ("mcunet-in2", 325.0, 200.0),
        ("mcunet-in3", 332.8, 242.0),
        ("mcunet-in4", 412.5, 400.0),
    ],
)
def test_what_in_place_gains(name: str, separate: float, in_place: float) -> None:
    report = memory(MCUNET[name].net)
    assert report.peak_bytes / 1024 == pytest.approx(separate, abs=0.051)  # 303.75 and so on
    assert kilobytes(report.peak_in_place_bytes) == in_place


def tinyengine_bytes(published: Published) -> int:
    """Activations, two padded channels of the largest depthwise layer, 864 bytes."""
    graph, planes = published.net.graph(), [0]
    for layer in graph.layers:
        if layer.operator == "depthwise_conv2d" and layer.window:
            planes.append((graph.tensors[layer.inputs[0]].rows + layer.window.kernel[0] - 1) ** 2)
    return memory(graph).peak_in_place_bytes + 2 * max(planes) + 864


@pytest.mark.parametrize("name", MCUNET)
def test_tinyengine_by_its_formula(name: str) -> None:
    assert f"{tinyengine_bytes(MCUNET[name]) / 1024:.1f}" == MCUNET[name].tinyengine_kb


@pytest.mark.parametrize(
    ("file", "macs"),
    [("mcunet-256kb-1mb-int4_imagenet", 134.49), ("mcunet-512kb-2mb-int4_imagenet", 466.8)],
)
def test_int4_networks(file: str, macs: float) -> None:
    assert memory(architecture(file)).macs / 1e6 == pytest.approx(macs, abs=0.05)


# --- MCUNetV2: MobileNetV2 by patches -----------------------------------------------------------


def test_mobilenet_v2() -> None:
    """Table 1: 4x4 patches over stem and 4 blocks; full patches in the stage, clipped overall."""
    net = zoo.mobilenet_v2()
    found, report = by_blocks(net, 4), memory(net)
    assert found.input_patch == (75, 75)
    assert kilobytes(report.peak_in_place_bytes) == 1372.0
    assert report.peak_in_place_layer == "block1_expand"
    assert kilobytes(found.peak_bytes) == 172.3
    assert kilobytes(found.patch_bytes) == 134.0
    assert kilobytes(found.output_bytes) == 24.5
    assert kilobytes(found.peak_with_image_bytes) == 305.5
    stage = [found.stage_macs, found.stage_macs_full, found.stage_macs_clipped]
    assert [millions(count) for count in stage] == [91.3, 129.5, 119.2]
    assert [percent(count, stage[0]) for count in stage[1:]] == [41.9, 30.6]
    assert [millions(count) for count in (found.macs_full, found.macs_clipped)] == [339.0, 328.7]
    assert percent(found.macs_full, found.macs) == 12.7
    assert percent(found.macs_clipped, found.macs) == 9.3


def test_mobilenet_v2_without_in_place() -> None:
    net = zoo.mobilenet_v2()
    report = memory(net, in_place=NOTHING, patch=(4, 4, net.convolutions(4)))
    assert report.patched is not None
    assert report.peak_in_place_bytes == report.peak_bytes == 1470 * 1024
    assert kilobytes(report.patched.peak_bytes) == 318.5


def test_mobilenet_v2_redistributed() -> None:
    net = zoo.mobilenet_v2_redistributed()
    found = by_blocks(net, 3)
    assert found.input_patch == (63, 63)
    assert millions(found.macs) == 292.4
    stage = [found.stage_macs, found.stage_macs_full]
    assert [millions(count) for count in stage] == [62.3, 73.7]
    assert percent(found.stage_macs_full, found.stage_macs) == 18.3
    assert [millions(count) for count in (found.macs_full, found.macs_clipped)] == [303.9, 300.9]
    assert percent(found.macs_full, found.macs) == 3.9
    assert percent(found.macs_clipped, found.macs) == 2.9
    assert kilobytes(memory(net).peak_in_place_bytes) == 1372.0
    assert kilobytes(found.peak_bytes) == 172.3


@pytest.mark.parametrize(
    ("blocks", "pixels", "overhead", "peak"),
    [
        (1, 61, 0.4, 1372.0),
        (2, 63, 1.1, 517.6),
        (3, 71, 5.8, 514.5),
        (4, 75, 9.3, 172.3),
        (5, 91, 26.3, 226.7),
        (6, 107, 47.9, 309.0),
        (7, 123, 60.8, 393.0),
    ],
)
def test_sweep_of_blocks(blocks: int, pixels: int, overhead: float, peak: float) -> None:
    found = by_blocks(zoo.mobilenet_v2(), blocks)
    assert found.input_patch == (pixels, pixels)
    assert percent(found.macs_clipped, found.macs) == overhead
    assert kilobytes(found.peak_bytes) == peak


@pytest.mark.parametrize(
    ("grid", "pixels", "overhead", "peak"),
    [
        (2, 131, 2.9, 458.6),
        (3, 99, 6.0, 266.1),
        (4, 75, 9.3, 172.3),
        (5, 67, 12.7, 172.3),
        (7, 51, 20.1, 172.3),
    ],
)
def test_sweep_of_grids(grid: int, pixels: int, overhead: float, peak: float) -> None:
    found = by_blocks(zoo.mobilenet_v2(), 4, grid)
    assert found.input_patch == (pixels, pixels)
    assert percent(found.macs_clipped, found.macs) == overhead
    assert kilobytes(found.peak_bytes) == peak


# --- MCUNetV2: other networks -------------------------------------------------------------------


def check(net: Architecture, blocks: int, grid: int, figures: tuple[int, float, float]) -> float:
    """Compare patch size, overhead and peak; return the whole network's peak in kB."""
    found = by_blocks(net, blocks, grid)
    pixels, overhead, peak = figures
    assert found.input_patch == (pixels, pixels)
    assert percent(found.macs_clipped, found.macs) == overhead
    assert kilobytes(found.peak_bytes) == peak
    return kilobytes(memory(net).peak_in_place_bytes)


def test_mnasnet() -> None:
    assert check(zoo.mnasnet_b1(), 5, 4, (91, 16.7, 214.4)) == 784.0


@pytest.mark.parametrize(("grid", "figures"), [(4, (95, 20.4, 214.4)), (3, (119, 12.8, 233.7))])
def test_proxyless_mobile(grid: int, figures: tuple[int, float, float]) -> None:
    assert check(architecture("proxyless_mobile"), 4, grid, figures) == 784.0


def test_fbnet() -> None:
    """The published 7.4 % counts grouped convolutions as dense ones."""
    net = zoo.fbnet_a()
    dense = replace(net, blocks=tuple(replace(block, groups=1) for block in net.blocks))
    assert check(dense, 3, 4, (79, 7.4, 171.5)) == 784.0
    assert check(net, 3, 4, (79, 7.6, 171.5)) == 784.0


@pytest.mark.parametrize(
    ("blocks", "grid", "overhead", "peak"), [(2, 2, 1.2, 85.0), (4, 3, 14.7, 57.6)]
)
def test_narrow_mobilenet_v2(blocks: int, grid: int, overhead: float, peak: float) -> None:
    net = MCUNET["mbv2-w0.35"].net
    found = by_blocks(net, blocks, grid)
    assert percent(found.macs_clipped, found.macs) == overhead
    assert kilobytes(found.peak_bytes) == peak


# --- models with weights ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> MemoryReport:
    path = shared_path("models", "mcunet", "mcunetv2_large.tflite")
    return memory(str(path), patch=(4, 4, 8))


def test_mcunetv2_large(large: MemoryReport) -> None:
    """TinyEngine's scheduler: 1,404,928 bytes by layers, 441,000 with these patches."""
    assert (large.macs, large.weights) == (216_815_264, 1_782_200)
    assert large.peak_in_place_bytes == 1_404_928
    found = large.patched
    assert found is not None
    assert found.input_patch == (63, 63)
    stage = [found.stage_macs, found.stage_macs_full]
    assert [millions(count, 2) for count in stage] == [48.75, 57.58]
    assert percent(found.stage_macs_full, found.stage_macs) == 18.1
    assert percent(found.macs_full, found.macs) == 4.1
    assert percent(found.macs_clipped, found.macs) == 3.0
    assert found.peak_bytes == 226_480
    assert found.peak_with_image_bytes == 289_520


@pytest.mark.parametrize(
    ("file", "macs", "weights", "peak"),
    [
        ("mcunet-vww1", 11_578_816, 420_520, 89_600),
        ("mcunet-320kb-1mb_imagenet", 81_785_520, 721_032, 247_808),
    ],
)
def test_bundled_models(file: str, macs: int, weights: int, peak: int) -> None:
    report = memory(str(shared_path("models", "mcunet", f"{file}.tflite")))
    assert (report.macs, report.weights, report.peak_in_place_bytes) == (macs, weights, peak)


def test_mcunet_vww1_by_patches() -> None:
    """TinyEngine needs 59,568 bytes beside the image with 2x2 patches of 47 pixels."""
    path = shared_path("models", "mcunet", "mcunet-vww1.tflite")
    found = memory(str(path), patch=(2, 2, 6)).patched
    assert found is not None
    assert found.input_patch == (47, 47)
    assert found.peak_bytes == 31_096
    assert found.peak_with_image_bytes == 50_296


def test_it_takes_milliseconds() -> None:
    """An architecture search asks thousands of times; ten thousand calls are some three ms."""
    net = zoo.mobilenet_v2()
    assert calls_of(lambda: memory(net, patch=(4, 4, 11))) < 12_000
