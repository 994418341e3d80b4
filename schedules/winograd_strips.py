"""Winograd's tiles, and how rows of them cover the width of an image."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = 4  # of a tile's inputs along an axis: two outputs and the kernel's reach
LARGEST_TILES = 4  # their sums and two channels are all registers
CODE_OF_REST = 1.06  # as much must be saved for strips of a second length to be worth their code


@dataclass(frozen=True)
class Transform:
    """F(2x2, 3x3), or F(2, 3) of each row of a kernel: `taps` rows whose products are summed."""

    name: str
    rows: int  # of inputs
    columns: int  # of positions, four each
    taps: int
    heights: int  # rows of outputs

    @property
    def weight_bits(self) -> int:
        """By which sums are larger: one for each axis."""
        return self.heights

    @property
    def words(self) -> int:
        """Of transformed inputs of four channels of a tile."""
        return 2 * SIZE * self.columns * self.taps


SQUARE = Transform("square", SIZE, SIZE, 1, 2)


def lines(height: int) -> Transform:
    """F(2, 3) for kernels of `height` rows."""
    return Transform("lines", height, 1, height, 1)


@dataclass(frozen=True)
class Strip:
    """Tiles side by side, two columns of outputs each; the last may reach over the one before."""

    tiles: int
    overlap: int = 0  # columns

    @property
    def width(self) -> int:
        """Columns of outputs."""
        return 2 * self.tiles - self.overlap

    @property
    def columns(self) -> int:
        """Columns of inputs that are gathered, two by two: the last one may be of no use."""
        return 2 * self.tiles + 2

    def first(self, tile: int) -> int:
        """The first column of a tile."""
        return min(2 * tile, self.width - 2)

    @property
    def products(self) -> int:
        """Instructions that load and multiply a position of two input and two output channels."""
        return 1 + -(-self.tiles // 2) + 2 * self.tiles

    @property
    def name(self) -> str:
        """Part of the names of micro-kernels."""
        return f"{self.tiles}tiles" + "_overlapping" * self.overlap


@dataclass(frozen=True)
class Row:
    """`count` strips one after the other, and a `last` one that ends where the row does."""

    strip: Strip
    count: int
    last: Strip

    @property
    def strips(self) -> tuple[Strip, ...]:
        """All of them."""
        return (*(self.strip,) * self.count, self.last)

    @property
    def cost(self) -> float:
        """By which rows of the same width compare: products, a little for all else, and code."""
        code = 1 if self.last == self.strip else CODE_OF_REST
        return code * sum(1 + strip.products for strip in self.strips)


def row_of(width: int, largest: int = LARGEST_TILES) -> Row:
    """The cheapest strips of up to `largest` tiles that cover two or more columns."""
    tiles = -(-width // 2)
    if tiles <= largest:
        only = Strip(tiles, width % 2)
        return Row(only, 0, only)
    rows = []
    for each in range(1, largest + 1):
        count = -(-tiles // each) - 1
        for last in {each, tiles - count * each}:
            rows.append(Row(Strip(each), count, Strip(last)))
    return min(rows, key=lambda row: row.cost)
