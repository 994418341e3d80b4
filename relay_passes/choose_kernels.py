"""Which kernel each layer takes: the fastest all together that Flash and SRAM have room for.

Every layer starts with its fastest candidate. While the whole is too large, the change that costs
the least instructions for a byte saved is made: of one layer, or of all that share a variant, whose
functions go only with the last of them. Then single layers take back what there is room for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tvm_tiny.errors import TargetError
from tvm_tiny.relay_passes._arena_bounds import needed_bytes
from tvm_tiny.relay_passes._intervals import allowed_overlaps, live_intervals
from tvm_tiny.relay_passes.patches import placed
from tvm_tiny.relay_passes.program import (
    Layer,
    PatchLayer,
    Program,
    Stage,
    Step,
    aligned,
    layers_of,
)
from tvm_tiny.schedules import costs
from tvm_tiny.schedules.candidates import Candidate

GOALS = ("speed", "balanced", "size")
# Balanced firmware: weights and code for so many times the int8 weights, and code beside them.
BALANCED_WEIGHTS, BALANCED_CODE = 1.3, 40 << 10
# Small firmware is balanced firmware that goes on paying so many instructions for a byte.
PRICE = 100
MARGIN_BYTES = 2048  # weights are counted, but code is estimated before it is compiled

Choice = tuple[Candidate, ...]  # one for each layer
Change = dict[int, Candidate]  # layers that take another


@dataclass(frozen=True)
class Limits:
    """What to optimise for, and bytes of Flash and arena that a target has; None is no limit.

    `fast_bytes` are for a second arena, in fast memory. With `is_exact` the choice of kernels is
    proven to be the best (choose_exactly.py).
    """

    goal: str = "speed"
    flash_bytes: int | None = None
    arena_bytes: int | None = None
    fast_bytes: int = 0
    is_exact: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown goals."""
        if self.goal not in GOALS:
            raise TargetError(
                f"unknown goal {self.goal!r}; known are {', '.join(GOALS)}", where="optimize"
            )


def choose_kernels(program: Program, limits: Limits) -> Program:
    """The program with the kernels for a goal; the smallest where none fit."""
    enough = flash_limit(program, limits)
    limit = 0 if limits.goal == "size" else enough
    choice = tuple(layer.chosen for layer in program.layers)
    if limit is None or enough is None or _flash(choice) <= limit:
        return program
    choice = _faster(program, _smaller(program, choice, limit, enough), limit)
    return program.with_kernels(choice)


def with_less_scratch(program: Program, arena_bytes: int) -> Program | None:
    """A program to choose from anew: where too much is live, kernels of less scratch are left.

    Too much is what exceeds `arena_bytes`, and the most of all. None if no such layer has less.
    """
    live = live_intervals(program)
    needed = needed_bytes(live, allowed_overlaps(program, live))[: len(program.steps)]
    limit = min(arena_bytes, max(needed, default=0) - 1)
    smaller = [
        _with_less_scratch(step, bytes_live - limit)
        for step, bytes_live in zip(program.steps, needed, strict=True)
    ]
    if smaller == list(program.steps):
        return None
    layers = [layer for step in smaller for layer in layers_of(step)]
    with_candidates = replace(program, steps=tuple(smaller))
    return with_candidates.with_kernels([layer.chosen for layer in layers])


def _with_less_scratch(step: Step, excess: int) -> Step:
    """A layer without the kernels of most scratch where bytes are too many.

    Stages have been given candidates for the room that there is.
    """
    if excess <= 0 or isinstance(step, Stage):
        return step
    if isinstance(step, Layer):
        return _less(step)
    limit = step.scratch_bytes - excess
    sizes = {tile.name: aligned(tile.spec.nbytes) for tile in step.tiles}
    tiles = iter([sum(sizes[name] for name in names) for names in step.live])
    work = [
        replace(item, layer=_less(item.layer))
        if isinstance(item, PatchLayer) and next(tiles) + item.layer.chosen.scratch_bytes > limit
        else item
        for item in step.work
    ]
    return placed(replace(step, work=tuple(work)))


def _less(layer: Layer) -> Layer:
    """The layer with kernels of less scratch, if there are any."""
    largest = layer.chosen.scratch_bytes
    less = tuple(c for c in layer.candidates if c.kernel and c.scratch_bytes < largest)
    return replace(layer, chosen=less[0], candidates=less) if less else layer


def flash_limit(program: Program, limits: Limits) -> int | None:
    """Bytes that the estimate may reach; small firmware goes on below, at a fair price."""
    bounds = [limits.flash_bytes] if limits.flash_bytes is not None else []
    if limits.goal != "speed":
        weights = sum(layer.weights for layer in program.layers)
        bounds.append(int(BALANCED_WEIGHTS * weights) + BALANCED_CODE)
    return min(bounds) - MARGIN_BYTES if bounds else None


def _smaller(program: Program, choice: Choice, limit: int, enough: int) -> Choice:
    """Change the choice until it fits, or has enough and nothing saves more at a fair price."""
    while _flash(choice) > limit:
        changed = [_changed(choice, change) for change in _changes(program, choice)]
        offers = [_Offer.of(choice, other) for other in changed]
        offers = [offer for offer in offers if offer.saved > 0]
        if not offers:
            break
        # of equal prices the smallest change, which overshoots the least
        best = min(offers, key=lambda offer: (offer.slower / offer.saved, offer.saved))
        if best.slower > PRICE * best.saved and _flash(choice) <= enough:
            break
        choice = best.choice
    return choice


def _faster(program: Program, choice: Choice, limit: int) -> Choice:
    """Take back changes of single layers, the best for its bytes first, while there is room."""
    room = max(limit - _flash(choice), 0)
    while True:
        changed = [_changed(choice, change) for change in _single_changes(program, choice)]
        offers = [_Offer.of(choice, other) for other in changed]
        offers = [offer for offer in offers if offer.slower < 0 and -offer.saved <= room]
        if not offers:
            return choice
        best = min(offers, key=lambda offer: offer.slower / max(-offer.saved, 1))
        choice, room = best.choice, room + best.saved


@dataclass(frozen=True)
class _Offer:
    """Another choice: instructions that it costs, and bytes of Flash that it saves."""

    choice: Choice
    slower: int
    saved: int

    @staticmethod
    def of(old: Choice, new: Choice) -> _Offer:
        return _Offer(new, _instructions(new) - _instructions(old), _flash(old) - _flash(new))


def _changes(program: Program, choice: Choice) -> Iterator[Change]:
    """Of one layer; of all that have an operator and a variant to another."""
    together: dict[tuple[str, str, str], Change] = {}
    for change in _single_changes(program, choice):
        yield change
        ((index, candidate),) = change.items()
        key = (candidate.operator, choice[index].variant, candidate.variant)
        together.setdefault(key, {})[index] = candidate
    yield from (change for change in together.values() if len(change) > 1)


def _single_changes(program: Program, choice: Choice) -> Iterator[Change]:
    for index, (layer, chosen) in enumerate(zip(program.layers, choice, strict=True)):
        for candidate in layer.candidates:
            if candidate is not chosen and candidate.kernel is not None:
                yield {index: candidate}


def _changed(choice: Choice, change: Change) -> Choice:
    return tuple(change.get(index, candidate) for index, candidate in enumerate(choice))


def _flash(choice: Sequence[Candidate]) -> int:
    return costs.flash_bytes(candidate.pieces for candidate in choice)


def _instructions(choice: Sequence[Candidate]) -> int:
    return sum(candidate.cost for candidate in choice)
