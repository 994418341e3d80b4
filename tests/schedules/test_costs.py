"""The table of costs against the emulator's counts, on layers that it was not fitted to."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.layers import Layer
from tests.support.variants import Measured, able, measure
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.targets.target import resolve

# and how far off predictions may be
TARGETS = {"mps2-an386": 0.15, "mps3-an547": 0.2, "mps2-an385": 0.2}
CLOSE = 0.9  # kernels whose counts are closer may stand in either order
BYTES_OF_CODE = 0.15
LAYERS = (
    *(
        "conv1x1 16x16x48->48",
        "conv1x1 12x12x16->96",
        "conv1x1 6x6x128->128",
        "conv1x1 24x24x8->16",
    ),
    *(
        "conv1x1 5x5x160->40",
        "conv3x3 14x14x24->24",
        "conv3x3 16x16x8->16",
        "conv3x3s2 24x24x3->16",
    ),
    *("conv3x3 24x24x3->8", "conv3x3s2 14x14x16->24", "conv5x5s2 18x18x3->16"),
    *("conv1x1s2 14x14x32->64", "fc 128->64", "fc 640->64", "fc 64->12", "fc 400->128"),
    *("dw3x3 24x24x16", "dw3x3 9x9x48", "dw3x3 6x6x128", "dw3x3s2 18x18x24", "dw3x3s2 10x10x64"),
    *("dw5x5 14x14x24", "dw5x5 7x7x64", "dw5x5s2 14x14x32", "dw7x7 12x12x24", "dw7x7 6x6x48"),
    *("dw7x7s2 14x14x24",),
)


@pytest.fixture(scope="module", params=TARGETS)
def rows(request: pytest.FixtureRequest) -> tuple[str, dict[str, list[Measured]]]:
    """Return a target, and what every variant of every layer needs there."""
    target = resolve(request.param)
    kernels = {name: able(name, target.core.features) for name in LAYERS}
    jobs = [(name, *job) for name, row in kernels.items() for job in row.values()]
    measured, _ = measure(jobs, target)
    return target.name, {name: [row for row in measured if row.name == name] for name in LAYERS}


@pytest.mark.qemu
@pytest.mark.parametrize("name", LAYERS)
def test_predictions_are_close(name: str, rows: tuple[str, dict[str, list[Measured]]]) -> None:
    target, measured = rows
    for row in measured[name]:
        error = row.candidate.instructions / (row.result.instructions or 1) - 1
        assert abs(error) <= TARGETS[target], f"{row.candidate.variant}: {error:+.1%}"


@pytest.mark.qemu
@pytest.mark.parametrize("name", LAYERS)
def test_the_order_of_variants_is_right(
    name: str, rows: tuple[str, dict[str, list[Measured]]]
) -> None:
    ordered = sorted(rows[1][name], key=lambda row: row.candidate.instructions)
    counts = [row.result.instructions or 0 for row in ordered]
    assert all(first * CLOSE <= second for first, second in pairwise(counts))


@pytest.mark.qemu
@pytest.mark.parametrize("variant", ["pairs", "packed", "portable", "planes", "plane"])
def test_flash_is_close(variant: str) -> None:
    """Weights are counted exactly, code is estimated."""
    target = resolve("mps2-an386")
    kernels = {name: able(name, target.core.features) for name in LAYERS}
    jobs = [(name, *row[variant]) for name, row in kernels.items() if variant in row]
    _, firmware = measure(jobs, target)
    sizes = firmware.image.sizes
    estimated = costs.flash_bytes(candidate.pieces for _, _, candidate in jobs)
    error = estimated - sizes.flash_bytes
    assert abs(error) <= BYTES_OF_CODE * sizes.flash_code_bytes, f"{error:+}"


def test_what_kernels_share_counts_once() -> None:
    first, second = (
        candidates(Layer.parse(name).call(), ["dsp"])[0]
        for name in ("conv1x1 8x8x16->16", "conv1x1 8x8x16->16 linear")
    )
    alone = [costs.flash_bytes([c.pieces]) for c in (first, second)]
    together = costs.flash_bytes([first.pieces, second.pieces])
    assert max(alone) < together < sum(alone) - costs.table().image.base_bytes


def test_constants_count_by_the_byte() -> None:
    (kernel,) = (
        c for c in candidates(Layer.parse("fc 64->10").call(), ["dsp"]) if c.variant == "portable"
    )
    assert kernel.kernel is not None
    sizes = [values.nbytes for _, values in kernel.kernel.constants]
    listed = [size for piece, size in kernel.pieces.items() if isinstance(piece, tuple)]
    assert sum(sizes) <= sum(listed) <= sum(sizes) + 3 * len(sizes)
