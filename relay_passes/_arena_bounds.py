"""What any plan of an arena needs at least: at each step, and along outputs that drift down.

An output that lies over its input by a sweep begins some bytes before it. Of a chain of those,
each over the one before, either all drift down, which takes the sum of these bytes, or two of them
are apart, and then the step between them needs both. Tensors that live beside the whole chain lie
above or below it, unless it crosses them; where it does, two are apart again. One that lives beside
a member only is above it, and the drift from there on is below it, or below, and the drift until
there is above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_tiny.relay_passes._intervals import Interval, Overlaps
from tvm_tiny.relay_passes._overlaps import most_shared


def lower_bound(intervals: Sequence[Interval], overlaps: Overlaps) -> int:
    """Bytes that any plan needs at least."""
    bound = max(needed_bytes(intervals, overlaps))
    following = {source: output for source, output in overlaps}
    apart = _needed_apart(intervals, overlaps)
    chains = _Chains(intervals, overlaps)
    for source in following:
        bound = _drift_bound(source, following, chains, apart, bound)
    return bound


def needed_bytes(intervals: Sequence[Interval], overlaps: Overlaps) -> list[int]:
    """Bytes that each step needs in any plan: those live, less the most that can be shared."""
    steps = range(max((i.last for i in intervals), default=0) + 1)
    needed = [sum(i.size for i in intervals if i.first <= step <= i.last) for step in steps]
    live = {interval.name: interval for interval in intervals}
    for output in {output for _, output in overlaps}:
        needed[live[output].first] -= _shared_by(output, live, overlaps)
    return needed


def _shared_by(
    output: str, live: Mapping[str, Interval], overlaps: Overlaps, without: str = ""
) -> int:
    """Bytes of an output that can be its inputs', one input left out."""
    inputs = [
        (live[name].size, overlap)
        for (name, other), overlap in overlaps.items()
        if other == output and name != without
    ]
    return most_shared(live[output].size, inputs)


def _needed_apart(intervals: Sequence[Interval], overlaps: Overlaps) -> dict[str, int]:
    """By input: what the step by which it dies needs, if the output shares no byte with it."""
    live = {interval.name: interval for interval in intervals}
    needed = needed_bytes(intervals, overlaps)
    return {
        source: needed[live[output].first]
        + _shared_by(output, live, overlaps)
        - _shared_by(output, live, overlaps, source)
        for source, output in overlaps
    }


def _drift_bound(
    source: str,
    following: Mapping[str, str],
    chains: _Chains,
    apart: Mapping[str, int],
    bound: int,
) -> int:
    """`bound`, or what the chain of outputs from `source` on needs, if that is more."""
    chain, drifts = [source], [0]
    least_apart = apart[source]
    while chain[-1] in following:
        name, output = chain[-1], following[chain[-1]]
        least_apart = min(least_apart, apart[name])
        if least_apart <= bound:
            break
        drifts.append(drifts[-1] - chains.overlaps[name, output].shift)
        chain.append(output)
        bound = max(bound, min(least_apart, chains.needed(chain, drifts)))
    return bound


class _Chains:
    """What chains of outputs need, each drifted so many bytes down from the first."""

    def __init__(self, intervals: Sequence[Interval], overlaps: Overlaps) -> None:
        self.intervals, self.overlaps = intervals, overlaps
        self.live = {interval.name: interval for interval in intervals}
        self.meeting = {i.name: [o for o in intervals if o.overlaps(i)] for i in intervals}
        self.sharing: dict[str, set[str]] = {i.name: {i.name} for i in intervals}
        for source, output in overlaps:
            self.sharing[source].add(output)
            self.sharing[output].add(source)

    def needed(self, chain: Sequence[str], drifts: Sequence[int]) -> int:
        """Bytes if no two are apart; others lie above the first, below the last, or both."""
        first, last = self.live[chain[0]].last, self.live[chain[-1]].first
        sharing = set().union(*(self.sharing[name] for name in chain))
        beside = [
            i
            for i in self.meeting[chain[0]]
            if i.first <= first and i.last >= last and i.name not in sharing
        ]
        size = self.live[chain[0]].size
        most = size + drifts[-1]
        for name, drift in zip(chain, drifts, strict=True):
            member = self.live[name]
            begin, end = max(member.first, first), min(member.last, last)
            over = min(member.size + drifts[-1] - drift, size + drift)
            for other in self.meeting[name]:
                is_there = other.first <= end and other.last >= begin and other not in beside
                if is_there and other.size + over > most and not self._shares(other, chain, beside):
                    most = other.size + over
        return most + sum(i.size for i in beside)

    def _shares(self, other: Interval, chain: Sequence[str], beside: Sequence[Interval]) -> bool:
        partners = self.sharing[other.name]
        return any(name in partners for name in (*chain, *(i.name for i in beside)))
