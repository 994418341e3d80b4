"""Tiles: the parts of images that exist while a patch is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_tiny.schedules.dialect import TensorSpec


@dataclass(frozen=True)
class Axis:
    """One direction of a tile: where it lies in its tensor of `size`.

    In the patch whose output begins at row (or column) `a`, the tile begins at `a * step - lead`.
    """

    size: int
    extent: int
    step: int = 0
    lead: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tensor in every patch."""
        return self.step == 0

    def bounds(self, anchor: int) -> tuple[int, int]:
        """Where it begins and ends in a patch."""
        begin = anchor * self.step - self.lead
        return begin, begin + self.extent


@dataclass(frozen=True)
class Tile:
    """A part of the image `tensor`, `offset` bytes inside the scratch of its patches.

    What lies outside the image holds `fill`; None where nobody reads it.
    """

    name: str
    tensor: str
    spec: TensorSpec
    rows: Axis
    columns: Axis
    fill: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Copy:
    """A tile is copied: from another, or from the whole tensor in the arena (None)."""

    tile: str
    source: str | None = None


def first_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The first offset where `size` bytes are free."""
    offset = 0
    for begin, end in taken:
        if offset + size <= begin:
            break
        offset = max(offset, end)
    return offset


def made_inside(axis: Axis, anchors: Sequence[int]) -> int:
    """Rows (or columns) that patches make of an image, those that are made again too."""
    bounds = [axis.bounds(anchor) for anchor in anchors]
    return sum(min(end, axis.size) - max(begin, 0) for begin, end in bounds)
