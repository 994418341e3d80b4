"""Best-first search for the order of some layers in which the least bytes are live at once.

States are sets of layers that have run. Those of the lowest peak are looked at first, so the first
that holds all layers is the best; what cannot be wrong is done at once (`_Search.moves`). When the
states become too many, a beam goes on with the few best of each number of layers.
Orders by dynamic programming over such sets as in Ahn et al., "Ordering chaos: memory-aware
scheduling of irregularly wired neural networks for edge devices" (arXiv 2003.02369).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_tiny.relay_passes._liveness import Liveness, members

BEAM_WIDTH = 12


@dataclass(frozen=True)
class Part:
    """Layers in the order given, all that ran before them, and the bytes then live.

    One of the layers needs `floor` bytes in every order.
    """

    layers: tuple[int, ...]
    done: int
    live: int
    floor: int


@dataclass(frozen=True)
class Found:
    """An order of a part's layers, its peak, and whether none has a lower one."""

    layers: tuple[int, ...]
    peak: int
    is_least: bool


@dataclass(frozen=True, slots=True)
class _State:
    """Layers that have run, and those that may run next; `layer` ran last, after `parent`."""

    peak: int
    live: int
    done: int
    count: int
    ready: int
    layer: int = -1
    parent: _State | None = None

    def order(self) -> tuple[int, ...]:
        """All layers in the order in which they ran."""
        layers, state = [], self
        while state.parent is not None:
            layers.append(state.layer)
            state = state.parent
        return tuple(reversed(layers))


def search(liveness: Liveness, part: Part, floor: int, budget: int) -> Found:
    """The given order if none is better, else the best found while `budget` steps are tried.

    Peaks below `floor` are as good as it.
    """
    given = liveness.peak(part.layers, part.done, part.live)
    if given <= floor:
        return Found(part.layers, given, True)
    trial = _Search(liveness, part, floor, given)
    best = trial.exact(budget)
    if best is None and trial.steps < budget:
        return Found(part.layers, given, True)
    if best is None:
        found = _approached(liveness, part, floor, given, budget)
    else:
        found = Found(best.order(), best.peak, True)
    layers = found.layers if found.peak == given else tidied(liveness, part, found)
    return Found(layers, liveness.peak(layers, part.done, part.live), found.is_least)


def _approached(liveness: Liveness, part: Part, floor: int, given: int, effort: int) -> Found:
    """Halve the range of peaks: a beam that may go up to a peak looks at live bytes only."""
    layers, low, high = part.layers, floor, given
    while low < high and effort > 0:
        middle = (low + high) // 2
        trial = _Search(liveness, part, middle, middle + 1)
        best = trial.beam()
        effort -= trial.steps
        if best is None:
            low = middle + 1
        else:
            layers = best.order()
            high = liveness.peak(layers, part.done, part.live)
    return Found(layers, high, high <= floor)


class _Search:
    """One search for a peak from `floor` on, below `limit`; `steps` counts the work."""

    def __init__(self, liveness: Liveness, part: Part, floor: int, limit: int) -> None:
        self.liveness, self.nodes, self.limit, self.steps = liveness, liveness.nodes, limit, 0
        self.total = len(part.layers)
        self.inside = sum(1 << layer for layer in part.layers)
        ready = sum(1 << n for n in part.layers if not self.nodes[n].before & ~part.done)
        self.start = _State(floor, part.live, part.done, 0, ready)

    def exact(self, budget: int) -> _State | None:
        """The state of the lowest peak that holds all layers; None also when budget is spent."""
        heap = [(self.start.peak, 0, 0, 0, self.start)]
        peaks = {self.start.done: self.start.peak}
        number = 0
        while heap and self.steps < budget:
            *_, state = heapq.heappop(heap)
            if state.count == self.total:
                return state
            if peaks[state.done] < state.peak:
                continue
            for new in self.moves(state):
                if new.peak < peaks.get(new.done, self.limit):
                    peaks[new.done] = new.peak
                    number += 1
                    heapq.heappush(heap, (new.peak, -new.count, new.live, number, new))
        return None

    def beam(self) -> _State | None:
        """A good state that holds all layers."""
        levels: list[dict[int, _State]] = [{} for _ in range(self.total + 1)]
        levels[0][self.start.done] = self.start
        for level in levels[:-1]:
            best = sorted(level.values(), key=lambda state: (state.peak, state.live))
            for state in best[:BEAM_WIDTH]:
                for new in self.moves(state):
                    old = levels[new.count].get(new.done)
                    if new.peak < (old.peak if old else self.limit):
                        levels[new.count][new.done] = new
        return min(levels[-1].values(), key=lambda state: state.peak, default=None)

    def moves(self, state: _State) -> Iterator[_State]:
        """States that follow: only one, if some layers free what they take without a new peak.

        Then nothing is lost by running them first. Move them to the front of any order: the more
        has run before them, the less they take and the more they free, so that where they ran
        before, and at each layer in between, no more bytes are live than were.
        """
        possible = []
        for layer in members(state.ready):
            needed, live = self._step(state, layer)
            if needed <= state.peak:
                down = self._descent(self._after(state, layer, needed, live), state.live)
                if down is not None:
                    yield down
                    return
            if needed < self.limit:
                possible.append((layer, needed, live))
        for layer, needed, live in possible:
            yield self._after(state, layer, needed, live)

    def _descent(self, state: _State, live_before: int) -> _State | None:
        """Follow a chain of layers up and down again, as long as its peak isn't new."""
        while state.live > live_before:
            successors = self.nodes[state.layer].after
            following = next((n for n in successors if state.ready >> n & 1), None)
            if following is None:
                return None
            needed, live = self._step(state, following)
            if needed > state.peak:
                return None
            state = self._after(state, following, needed, live)
        return state

    def _step(self, state: _State, layer: int) -> tuple[int, int]:
        self.steps += 1
        return self.liveness.step(state.done, state.live, layer)

    def _after(self, state: _State, layer: int, needed: int, live: int) -> _State:
        done = state.done | 1 << layer
        ready = state.ready ^ 1 << layer
        for other in self.nodes[layer].after:
            if self.inside >> other & 1 and not self.nodes[other].before & ~done:
                ready |= 1 << other
        peak = max(state.peak, needed)
        return _State(peak, live, done, state.count + 1, ready, layer, state)


def tidied(liveness: Liveness, part: Part, found: Found) -> tuple[int, ...]:
    """Neighbours change places, if fewer bytes are live between them, or as many as given.

    The peak does not rise. Bytes first: layers that only wait for others move behind them.
    """
    layers = list(found.layers)
    for _ in range(len(layers)):
        is_tidy = True
        done, live = part.done, part.live
        for place in range(len(layers) - 1):
            pair = layers[place], layers[place + 1]
            if _swaps(liveness, done, live, pair, found.peak):
                layers[place : place + 2] = pair[::-1]
                is_tidy = False
            _, live = liveness.step(done, live, layers[place])
            done |= 1 << layers[place]
        if is_tidy:
            break
    return tuple(layers)


def _swaps(liveness: Liveness, done: int, live: int, pair: tuple[int, int], limit: int) -> bool:
    first, second = pair
    if liveness.nodes[second].before >> first & 1:
        return False
    _, as_it_is = liveness.step(done, live, first)
    _, between = liveness.step(done, live, second)
    if (between, second) >= (as_it_is, first):
        return False
    return liveness.peak((second, first), done, live) <= limit
