"""What a model costs in instructions for every SRAM that it could be built for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvm_tiny import importers
from tvm_tiny.build_firmware import build
from tvm_tiny.errors import MissingExtraError
from tvm_tiny.pipeline import rewrite
from tvm_tiny.relay_passes.choose_kernels import choose_kernels
from tvm_tiny.relay_passes.fit_memory import NO_LIMITS, Staging, prepared
from tvm_tiny.relay_passes.order_operators import order_operators
from tvm_tiny.relay_passes.plan_arena import plan_arena
from tvm_tiny.relay_passes.program import Layer, program_of
from tvm_tiny.relay_passes.schedule_stages import StageSearch
from tvm_tiny.targets.linker import largest_arena
from tvm_tiny.targets.target import Target, resolve

GRANULE = 16  # bytes
FINEST = 32  # of a limit, by how much the next one is lower


@dataclass(frozen=True)
class Point:
    """One way to build a model, of which none needs both less memory and fewer instructions.

    `predicted` are instructions by the table of costs, `instructions` those of a run, exact, None
    where nothing was run. `stages` are (first, last) numbers of layers that run by strips.
    """

    arena_bytes: int
    predicted: int
    stages: tuple[tuple[int, int], ...]
    instructions: int | None = None


def explore(
    model: Any,
    target: str | Target,
    *,
    input_rows: bool = False,
    integer_io: bool = False,
    measure: bool = False,
) -> list[Point]:
    """The Pareto front of arena and instructions, largest arena first.

    Arguments are those of `build`; with `measure` every point is built and run on the emulator.
    Raises what `build` raises, but for DoesNotFitError.
    """
    chosen = target if isinstance(target, Target) else resolve(target)
    module, staging = importers.load(model), Staging(input_rows=input_rows, integer_io=integer_io)
    program = order_operators(program_of(rewrite(module), chosen.core.features))
    program, called_back = prepared(program, staging)
    points = _front(_points(StageSearch(program, chosen.core.features, called_back)))
    if measure:
        points = [_measured(module, chosen, staging, point) for point in points]
    return points


def _points(search: StageSearch) -> Iterator[Point]:
    """Cuts for lower and lower limits, until there is none."""
    limit = search.enough
    while (found := search.within(limit)) is not None:
        program = choose_kernels(found.program, NO_LIMITS)
        plan = plan_arena(program)
        stages = tuple(
            (a, b) for a, b, step in program.numbered_steps() if not isinstance(step, Layer)
        )
        yield Point(plan.arena_bytes, found.instructions, stages)
        limit = found.peak_bytes - max(found.peak_bytes // FINEST, 1)


def _front(points: Iterator[Point]) -> list[Point]:
    """Without those that another one beats."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.predicted, p.arena_bytes)):
        if not front or point.arena_bytes < front[-1].arena_bytes:
            front.append(point)
    return front


def _measured(module: Any, target: Target, staging: Staging, point: Point) -> Point:
    """The point with what its firmware takes, built for just that much memory."""
    limited = replace(target, sram_bytes=point.arena_bytes)
    # stacks stand beside the arena, and protection has a granularity
    while largest_arena(limited) < point.arena_bytes:
        limited = replace(limited, sram_bytes=limited.sram_bytes + GRANULE)
    firmware = build(module, limited, input_rows=staging.input_rows, integer_io=staging.integer_io)
    result = firmware.profile()
    return replace(point, arena_bytes=result.arena_bytes, instructions=result.instructions)


def plot(points: list[Point], path: str | Path, title: str) -> None:
    """Write the front as a picture; the name's end says which kind (.png, .svg, .pdf).

    Raises MissingExtraError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "plots need matplotlib", hint="pip install 'tvm_tiny[plot]'"
        ) from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    is_exact = all(point.instructions is not None for point in points)
    counts = [(p.instructions or p.predicted) / 1e6 for p in points]
    axes.step([p.arena_bytes / 1024 for p in points], counts, where="pre", marker="o")
    axes.set(xlabel="arena (KiB)", title=title)
    axes.set_ylabel(f"instructions (millions, {'exact' if is_exact else 'predicted'})")
    axes.grid(alpha=0.3)
    figure.savefig(path)
