"""The order of layers in which the fewest bytes are live at once.

Layers that all others must run before or after cut the program into parts, and each part is
ordered by itself: exactly, unless it is too large. An order is changed only for a lower peak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    """The best order of a program's layers, each part's own."""
    liveness = liveness_of(program)
    ancestors, descendants = liveness.relatives()
    layers: list[int] = []
    peaks = [(liveness.live_at_start + liveness.idle, True)]
    done, live = liveness.start, liveness.live_at_start
    for part in _parts(liveness, ancestors, descendants):
        # a layer by itself has but one order
        most = (liveness.least(n, ancestors[n], descendants[n]) for n in part if len(part) > 1)
        found = search(liveness, Part(part, done, live), max(most, default=0), budget)
        peaks.append((found.peak, found.is_least))
        for layer in found.layers:
            _, live = liveness.step(done, live, layer)
            done |= 1 << layer
        layers.extend(found.layers)
    peak = max(peak for peak, _ in peaks)
    return Order(tuple(layers), peak, (peak, True) in peaks)


def _parts(
    liveness: Liveness, ancestors: Sequence[int], descendants: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Cut where a layer has a relation to all others; the given order has the parts in a row."""
    everything = 4 * liveness.start - 1
    part: list[int] = []
    for layer in range(len(liveness.nodes)):
        if ancestors[layer] | descendants[layer] | 1 << layer == everything:
            if part:
                yield tuple(part)
                part = []
            yield (layer,)
        else:
            part.append(layer)
    if part:
        yield tuple(part)


def _tensors(program: Program, order: Sequence[int]) -> list[Tensor]:
    """Each tensor where its layer is now, its views and scratch behind it; inputs in front."""
    place: dict[str, int] = {}
    for new, old in enumerate(order):
        layer = program.steps[old]
        place[layer.output] = new
        if layer.scratch is not None:
            place[layer.scratch] = new
    return sorted(program.tensors, key=lambda tensor: place.get(tensor.storage, -1))
