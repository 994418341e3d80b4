"""Blocks in one dimension, as low as they go: first fit over many orders, repaired by conflicts.

Each pair of blocks has relative offsets that are forbidden. Disjoint blocks forbid one open
interval of them; blocks that may share bytes in some way forbid less.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

EFFORT = 2_000_000  # pairs of blocks looked at, for one packing: some 0.4 seconds
STARTS = 8  # orders that are repaired, those of the lowest packings
AT_ONCE = 0.3  # how often repair aims at the bound, not only at less than the best

Order = list[int]


class Conflict(NamedTuple):
    """A block may not begin more than `low` and less than `high` bytes behind the `other`."""

    other: int
    low: int
    high: int


@dataclass(frozen=True)
class Packing:
    """Sizes of blocks, the first and last step of each, and each one's conflicts with others."""

    sizes: tuple[int, ...]
    lives: tuple[tuple[int, int], ...]
    conflicts: tuple[tuple[Conflict, ...], ...]

    def upside_down(self) -> Packing:
        """The same seen from the other end."""
        sizes = self.sizes
        conflicts = tuple(
            tuple(
                Conflict(c.other, sizes[c.other] - size - c.high, sizes[c.other] - size - c.low)
                for c in of_block
            )
            for size, of_block in zip(sizes, self.conflicts, strict=True)
        )
        return Packing(sizes, self.lives, conflicts)

    def height(self, offsets: Sequence[int]) -> int:
        """Where the highest block ends."""
        ends = (offset + size for offset, size in zip(offsets, self.sizes, strict=True))
        return max(ends, default=0)


def pack(
    packing: Packing, needed: Sequence[int], bound: int, unit: int, effort: int = EFFORT
) -> list[int]:
    """The offset of each block; `needed` are the bytes that each step needs at least.

    All numbers are multiples of `unit`. The search ends where the height is `bound`, or with its
    effort.
    """
    if not packing.sizes:
        return []
    views = (packing, packing.upside_down())
    searches = [_Search(view, order) for view in views for order in _orders(view, needed)]
    searches.sort(key=lambda search: search.height)
    for search in searches[:STARTS]:
        limit = min(search.height for search in searches)
        search.run(limit, bound, unit, effort // STARTS)
    best = min(searches, key=lambda search: search.height)
    if best.packing is packing:
        return best.offsets
    ends = zip(best.offsets, packing.sizes, strict=True)
    return [best.height - offset - size for offset, size in ends]


def _orders(packing: Packing, needed: Sequence[int]) -> Iterator[Order]:
    """By size, by life and by step: the fullest first, forwards, backwards, outwards."""
    sizes, lives = packing.sizes, packing.lives
    blocks = range(len(sizes))
    length = [last - first + 1 for first, last in lives]
    steps = sorted(range(len(needed)), key=lambda step: -needed[step])
    rank = {step: number for number, step in enumerate(steps)}
    fullest = [min(rank[s] for s in range(first, last + 1)) for first, last in lives]
    away = [max(first - steps[0], steps[0] - last, 0) for first, last in lives]
    is_later = [first > steps[0] for first, _ in lives]
    yield sorted(blocks, key=lambda b: (-sizes[b], lives[b]))
    yield sorted(blocks, key=lambda b: (-sizes[b] * length[b], lives[b]))
    yield sorted(blocks, key=lambda b: (-length[b], -sizes[b]))
    yield sorted(blocks, key=lambda b: (lives[b][0], -sizes[b]))
    yield sorted(blocks, key=lambda b: (-lives[b][0], -sizes[b]))
    yield sorted(blocks, key=lambda b: (-lives[b][1], -sizes[b]))
    yield sorted(blocks, key=lambda b: (fullest[b], -sizes[b]))
    yield sorted(blocks, key=lambda b: (fullest[b], -lives[b][0]))
    yield sorted(blocks, key=lambda b: (away[b], -sizes[b]))
    yield sorted(blocks, key=lambda b: (is_later[b], away[b], -lives[b][0]))
    yield sorted(blocks, key=lambda b: (not is_later[b], away[b], -lives[b][0]))


class _Search:
    """An order of placing and the packing that it gives; better ones replace it."""

    def __init__(self, packing: Packing, order: Order) -> None:
        self.packing, self.order = packing, order
        self.offsets, _, _ = first_fit(packing, order, sys.maxsize)
        self.height = packing.height(self.offsets)

    def run(self, limit: int, bound: int, unit: int, effort: int) -> None:
        """Look for a packing lower than `limit`, and lower, down to `bound`.

        The first block that ends too high moves before one of those that are in its way.
        """
        generator = random.Random(0)  # the same plan on every run
        order = list(self.order)
        while limit > bound and effort > 0:
            goal = bound if generator.random() < AT_ONCE else limit - unit
            offsets, position, work = first_fit(self.packing, order, goal)
            effort -= work
            if position == len(order):
                self.order, self.offsets = list(order), offsets
                self.height = limit = self.packing.height(offsets)
                continue
            block = order.pop(position)
            blockers = [c.other for c in self.packing.conflicts[block] if offsets[c.other] >= 0]
            order.insert(order.index(generator.choice(blockers)) if blockers else 0, block)


def first_fit(packing: Packing, order: Order, limit: int) -> tuple[list[int], int, int]:
    """Each block at the lowest offset that those before it leave, while they end within `limit`.

    Gives the offsets (-1: not placed), the number of blocks placed, and the work that it was.
    """
    sizes, conflicts = packing.sizes, packing.conflicts
    offsets, work = [-1] * len(sizes), 10
    for position, block in enumerate(order):
        forbidden = sorted(
            (offsets[other] + low, offsets[other] + high)
            for other, low, high in conflicts[block]
            if offsets[other] >= 0
        )
        work += 2 + len(conflicts[block])
        offset = lowest_outside(forbidden)
        if offset + sizes[block] > limit:
            return offsets, position, work
        offsets[block] = offset
    return offsets, len(order), work


def lowest_outside(forbidden: Sequence[tuple[int, int]]) -> int:
    """The lowest offset in none of the intervals, which are open and sorted."""
    offset = 0
    for low, high in forbidden:
        if low >= offset:
            break
        offset = max(offset, high)
    return offset
