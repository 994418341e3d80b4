"""What tuning found, as one HTML file: learning curves, what won for each layer and why.

The page needs nothing beside itself: curves are SVG, and there are no scripts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from pathlib import Path

import jinja2

from tvm_tiny.targets.target import resolve
from tvm_tiny.tuning.database import Database, Version
from tvm_tiny.tuning.trial import Measurement, Metric
from tvm_tiny.tuning.tune import TaskResult, TuningResult

WIDTH, HEIGHT, BORDER = 420, 120, 26  # of a curve, in pixels
HEADROOM = 0.05  # of the curve's range, above and below
EVEN = 0.002  # of a factor: what is closer to one is no reason
UNITS = {"cycles": "estimated cycles", "instructions": "instructions", "hardware": "cycles"}
REASONS = 8  # kinds of failure that a task shows


@dataclass(frozen=True)
class Point:
    """One kernel that was tried, in the order of trials; without figures it failed.

    `name` is its variant with options, `value` what was made small: cycles, instructions or
    hardware cycles.
    """

    name: str
    value: int | None = None
    instructions: int | None = None
    error: str = ""
    is_default: bool = False


@dataclass(frozen=True)
class Task:
    """A layer that was tuned, once for all `layers` that are alike.

    `space` is how many kernels there are, `rank_correlation` that of the cost model's predictions
    with what was measured, None where there was none.
    """

    title: str
    layers: tuple[str, ...]
    space: int
    points: tuple[Point, ...]
    rank_correlation: float | None = None

    @cached_property
    def measured(self) -> tuple[Point, ...]:
        """Those with figures."""
        return tuple(point for point in self.points if point.value is not None)

    @property
    def best(self) -> Point | None:
        """The winner."""
        return min(self.measured, key=lambda point: point.value or 0, default=None)

    @property
    def default(self) -> Point | None:
        """What a build without measurements takes."""
        return next((point for point in self.measured if point.is_default), None)

    @property
    def gain(self) -> float | None:
        """The winner's part of the default's value."""
        best, default = self.best, self.default
        if best is None or default is None or not best.value or not default.value:
            return None
        return best.value / default.value

    @property
    def why(self) -> str:
        """What made the winner faster, or that nothing did."""
        best, default = self.best, self.default
        if best is None:
            return "no kernel could be measured"
        if default is None:
            return "the default was not measured"
        if best.is_default:
            return "the default is the fastest that was tried"
        return _why(best, default)

    @property
    def curve(self) -> str:
        """The learning curve as SVG, safe to stand in the page."""
        return _curve(self)

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Reasons of those without figures, and how many there were of each."""
        counts: dict[str, int] = {}
        for point in self.points:
            if point.error:
                counts[point.error] = counts.get(point.error, 0) + 1
        return sorted(counts.items(), key=lambda each: -each[1])[:REASONS]


def write_result(path: Path, model: str, result: TuningResult, folder: Path) -> None:
    """Write the page of what `tune` found for a model, with the points of its database."""
    version = Version.of(resolve(result.target))
    tasks = tasks_of_result(result, Database(folder), version)
    correlation = result.rank_correlation
    facts = {
        "core": version.core,
        "compiler": version.compiler,
        "kernels": version.kernels,
        "measured": f"{result.measured} kernels, {result.reused} more were known, in "
        f"{result.seconds:.0f} s",
        "rank correlation of the cost model": "-" if correlation is None else f"{correlation:.2f}",
    }
    write_page(path, f"{model} on {result.target}, tuned", UNITS[result.metric], tasks, facts)


def tasks_of_result(result: TuningResult, database: Database, version: Version) -> list[Task]:
    """What `tune` found, each layer with all points that the database has of this version."""
    return [
        Task(
            task.title,
            task.layers,
            task.space,
            tuple(_points(task, database.known(task.key, version), result.metric)),
            task.rank_correlation,
        )
        for task in result.tasks
    ]


def _points(task: TaskResult, known: Mapping[str, Measurement], metric: Metric) -> Iterator[Point]:
    for name, measured in known.items():
        is_default = name == task.default_point
        value = measured.value(metric)
        yield Point(name, value, measured.instructions, measured.error, is_default)


def write_page(
    path: Path, title: str, metric: str, tasks: Sequence[Task], facts: Mapping[str, str]
) -> None:
    """Write the page. `facts` are lines of its head; `metric` says what the numbers are."""
    path.write_text(page(title, metric, tasks, facts), "utf-8")


def page(title: str, metric: str, tasks: Sequence[Task], facts: Mapping[str, str]) -> str:
    """The page's text."""
    template = _environment().get_template("page.html")
    gains = [task.gain for task in tasks if task.gain is not None]
    mean = exp(sum(map(log, gains)) / len(gains)) if gains else None
    return template.render(title=title, metric=metric, tasks=tasks, facts=facts, mean=mean)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tvm_tiny.tuning"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _why(best: Point, default: Point) -> str:
    """Split the gain into fewer instructions, and less time for each of them."""
    if not (best.instructions and default.instructions and best.value and default.value):
        return ""
    fewer = best.instructions / default.instructions
    each = best.value / default.value / fewer
    reasons = [
        f"{_change(factor)} {what}"
        for factor, what in ((fewer, "instructions"), (each, "cycles for an instruction"))
        if abs(factor - 1) > EVEN
    ]
    return ", ".join(reasons) or "no difference"


def _change(factor: float) -> str:
    return f"{100 * abs(1 - factor):.1f} % {'fewer' if factor < 1 else 'more'}"


def _curve(task: Task) -> str:
    """The best value after each trial, relative to the default's; failures are marks below."""
    base = task.default or task.best
    if base is None or not base.value:
        return ""
    values = [point.value and point.value / base.value for point in task.points]
    known = [value for value in values if value]
    low, high = min(known), max(1.0, min(known[0], 2.0))
    room = max(HEADROOM * (high - low), 0.005)
    scale = _Scale(len(values), low - room, high + room)
    parts = [
        *scale.axis(high, low),
        *(_dot(scale, number, value) for number, value in enumerate(values) if value),
        *(_mark(scale, number) for number, value in enumerate(values) if not value),
        f'<polyline class="best" points="{" ".join(_steps(scale, values))}"/>',
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'<svg {size} role="img" aria-label="learning curve">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class _Scale:
    """From trials and values to pixels."""

    trials: int
    low: float
    high: float

    def x(self, number: float) -> float:
        return BORDER + (WIDTH - BORDER - 4) * number / max(self.trials, 1)

    def y(self, value: float) -> float:
        part = (min(value, self.high) - self.low) / (self.high - self.low)
        return 4 + (HEIGHT - BORDER) * (1 - part)

    def axis(self, *values: float) -> Iterator[str]:
        """Lines and numbers at some values, and how many trials there are."""
        for value in dict.fromkeys(values):
            y = self.y(value)
            yield f'<line class="grid" x1="{BORDER}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="0" y="{y + 3:.1f}">{value:.2f}</text>'
        yield f'<text x="{WIDTH - 70}" y="{HEIGHT - 4}">{self.trials} trials</text>'


def _dot(scale: _Scale, number: int, value: float) -> str:
    return f'<circle cx="{scale.x(number + 0.5):.1f}" cy="{scale.y(value):.1f}" r="1.5"/>'


def _mark(scale: _Scale, number: int) -> str:
    x, y = scale.x(number + 0.5), HEIGHT - BORDER + 10
    return f'<line class="failed" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 6}"/>'


def _steps(scale: _Scale, values: Sequence[float | None]) -> Iterator[str]:
    best: float | None = None
    for number, value in enumerate(values):
        if value and (best is None or value < best):
            if best is not None:
                yield f"{scale.x(number + 0.5):.1f},{scale.y(best):.1f}"
            best = value
            yield f"{scale.x(number + 0.5):.1f},{scale.y(best):.1f}"
    if best is not None:
        yield f"{scale.x(scale.trials):.1f},{scale.y(best):.1f}"
