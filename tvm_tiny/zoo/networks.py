"""Published networks, as their papers describe them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tvm_tiny.zoo.architecture import Architecture, Block

# Rows are (expansion, channels, number of blocks, stride of the first, kernel).
Row = tuple[int, int, int, int, int]
MOBILENET_V2: tuple[Row, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
# Kernel 1 in the first block; one block less of 24 channels and two more of 64.
MOBILENET_V2_REDISTRIBUTED: tuple[Row, ...] = (
    (1, 16, 1, 1, 1),
    (6, 24, 1, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 6, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
MNASNET_B1: tuple[Row, ...] = (
    (1, 16, 1, 1, 3),
    (3, 24, 3, 2, 3),
    (3, 40, 3, 2, 5),
    (6, 80, 3, 2, 5),
    (6, 96, 2, 1, 3),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Blocks are (expansion, channels, stride, kernel, groups); the search skipped four places.
FBNET_A = (
    (3, 24, 2, 3, 1),
    (1, 24, 1, 3, 1),
    (6, 32, 2, 5, 1),
    (3, 32, 1, 3, 1),
    (1, 32, 1, 5, 1),
    (3, 32, 1, 3, 1),
    (6, 64, 2, 5, 1),
    (3, 64, 1, 5, 1),
    (1, 64, 1, 5, 2),
    (6, 64, 1, 5, 1),
    (6, 112, 1, 3, 1),
    (1, 112, 1, 5, 2),
    (3, 112, 1, 5, 1),
    (1, 112, 1, 3, 2),
    (6, 184, 2, 5, 1),
    (6, 184, 1, 5, 1),
    (3, 184, 1, 5, 1),
    (6, 184, 1, 5, 1),
    (6, 352, 1, 5, 1),
)


def mobilenet_v2(width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Architecture:
    """MobileNetV2 (Sandler et al. 2018)."""
    return Architecture(
        f"mobilenet_v2_{width:g}_{resolution}",
        resolution,
        _scaled(32, width),
        tuple(_blocks(MOBILENET_V2, _scaled(32, width), width)),
        _scaled(1280, max(width, 1.0)),
        classes,
    )


def mobilenet_v2_redistributed(resolution: int = 224) -> Architecture:
    """MobileNetV2 with a smaller receptive field where it runs in patches (MCUNetV2).

    The paper gives no listing; this one meets all of its figures.
    """
    blocks = tuple(_blocks(MOBILENET_V2_REDISTRIBUTED, 32))
    return Architecture("mobilenet_v2_redistributed", resolution, 32, blocks, 1280)


def mnasnet_b1(resolution: int = 224) -> Architecture:
    """MnasNet-B1 (Tan et al. 2019): without squeeze-and-excite."""
    return Architecture("mnasnet_b1", resolution, 32, tuple(_blocks(MNASNET_B1, 32)), 1280)


def fbnet_a(resolution: int = 224) -> Architecture:
    """FBNet-A (Wu et al. 2019)."""
    blocks, inputs = [], 16
    for expansion, channels, stride, kernel, groups in FBNET_A:
        expanded = inputs * expansion
        residual = stride == 1 and inputs == channels
        blocks.append(Block(channels, kernel, stride, expanded, residual, groups))
        inputs = channels
    return Architecture("fbnet_a", resolution, 16, tuple(blocks), 1504)


def _blocks(rows: Iterable[Row], inputs: int, width: float = 1.0) -> Iterator[Block]:
    for expansion, unscaled, count, first_stride, kernel in rows:
        channels = _scaled(unscaled, width)
        for number in range(count):
            stride = first_stride if number == 0 else 1
            expanded = inputs * expansion if expansion > 1 else 0
            residual = stride == 1 and inputs == channels
            yield Block(channels, kernel, stride, expanded, residual)
            inputs = channels


def _scaled(channels: int, width: float) -> int:
    """Round to a multiple of 8, and not down by more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
