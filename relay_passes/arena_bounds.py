"""What any plan of an arena needs at least: at each step, and along outputs that drift down.

An output that lies over its input by a sweep begins some bytes before it. Of a chain of those,
each over the one before, either all drift down, which takes the sum of these bytes, or two of them
are apart, and then the step between them needs both. Tensors that live beside the whole chain lie
above or below it, unless it crosses them; where it does, two are apart again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_tiny.relay_passes._overlaps import most_shared
from tvm_tiny.relay_passes.intervals import Interval, Overlaps


def lower_bound(intervals: Sequence[Interval], overlaps: Overlaps) -> int:
    """Bytes that any plan needs at least."""
    bound = max(needed_bytes(intervals, overlaps))
    following = {source: output for source, output in overlaps}
    apart = _needed_apart(intervals, overlaps)
    for source in following:
        bound = _drift_bound(source, following, intervals, overlaps, apart, bound)
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
    intervals: Sequence[Interval],
    overlaps: Overlaps,
    apart: Mapping[str, int],
    bound: int,
) -> int:
    """`bound`, or what the chain of outputs from `source` on needs, if that is more."""
    live = {interval.name: interval for interval in intervals}
    first, chain, drift = live[source].last, [source], 0
    least_apart = apart[source]
    while chain[-1] in following:
        name, output = chain[-1], following[chain[-1]]
        least_apart = min(least_apart, apart[name])
        if least_apart <= bound:
            break
        drift -= overlaps[name, output].shift
        chain.append(output)
        beside = _beside(chain, first, live[name].last, intervals, overlaps)
        bound = max(bound, min(least_apart, live[source].size + drift + beside))
    return bound


def _beside(
    chain: Sequence[str],
    first: int,
    last: int,
    intervals: Sequence[Interval],
    overlaps: Overlaps,
) -> int:
    """Bytes live at all steps from `first` to `last` that share none with a chain's."""
    sharing = set(chain)
    for source, output in overlaps:
        if source in chain or output in chain:
            sharing |= {source, output}
    return sum(
        i.size for i in intervals if i.first <= first and i.last >= last and i.name not in sharing
    )
