"""The order of layers in which the fewest bytes are live at once.

A program is cut where all layers behind need all those before, and each part is ordered by itself:
exactly, unless it is too large. Only those parts change their order in which more bytes would be
live than the program needs anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tvm_tiny.relay_passes._liveness import Liveness, liveness_of
from tvm_tiny.relay_passes._order_search import Part, search
from tvm_tiny.relay_passes.program import Program, Tensor

# Steps that are tried before the search of a part is no longer exact; some 0.2 seconds.
BUDGET = 40_000


@dataclass(frozen=True)
class Order:
    """Layers by their places in the program, and the most bytes that one of them needs.

    `is_least` says that no order needs less; where it is false, not all could be looked at.
    """

    layers: tuple[int, ...]
    peak_bytes: int
    is_least: bool


def order_operators(program: Program) -> Program:
    """The same program in the best order found; unchanged where that gains nothing."""
    order = find_order(program).layers
    if order == tuple(range(len(program.steps))):
        return program
    steps = tuple(program.steps[place] for place in order)
    return replace(program, tensors=tuple(_tensors(program, order)), steps=steps)


def find_order(program: Program, budget: int = BUDGET) -> Order:
    """The best order of a program's layers; `budget` is the work for each part."""
    liveness = liveness_of(program)
    parts = list(_parts(liveness))
    bound = max([liveness.live_at_start + liveness.idle, *(part.floor for part in parts)])
    found = []
    for part in parts:
        best = search(liveness, part, bound, budget)
        found.append(best)
        if best.is_least:
            bound = max(bound, best.peak)
    peak = max([bound, *(best.peak for best in found)])
    layers: list[int] = []
    for part, best in zip(parts, found, strict=True):
        given = liveness.peak(part.layers, part.done, part.live)
        layers.extend(part.layers if given <= peak else best.layers)
    return Order(tuple(layers), peak, peak == bound)


def _parts(liveness: Liveness) -> Iterator[Part]:
    """The given order has the parts one behind the other."""
    ancestors, descendants = liveness.relatives()
    done, live = liveness.start, liveness.live_at_start
    for first, end in pairwise(_cuts(ancestors)):
        layers = tuple(range(first, end))
        floor = max(liveness.least(n, ancestors[n], descendants[n]) for n in layers)
        yield Part(layers, done, live, floor)
        for layer in layers:
            _, live = liveness.step(done, live, layer)
            done |= 1 << layer


def _cuts(ancestors: Sequence[int]) -> list[int]:
    """Where parts begin, and the end of the last."""
    cuts, common = [len(ancestors)], -1
    for layer in reversed(range(len(ancestors))):
        common &= ancestors[layer]
        if not ((1 << layer) - 1) & ~common:
            cuts.append(layer)
    return cuts[::-1]


def _tensors(program: Program, order: Sequence[int]) -> list[Tensor]:
    """Each tensor where its layer is now, its views and scratch behind it; inputs in front."""
    place: dict[str, int] = {}
    for new, old in enumerate(order):
        layer = program.steps[old]
        place[layer.output] = new
        if layer.scratch is not None:
            place[layer.scratch] = new
    return sorted(program.tensors, key=lambda tensor: place.get(tensor.storage, -1))
