"""What there is to tune in a model: its distinct layers, and the points of each one's space."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tvm_tiny.relay_passes.program import Program
from tvm_tiny.schedules import spaces
from tvm_tiny.schedules.candidates import PORTABLE, Candidate
from tvm_tiny.schedules.dialect import Call


@dataclass(frozen=True, eq=False)
class Task:
    """A layer to be tuned: the model's layers of this name and all that are equal to it."""

    call: Call
    features: frozenset[str]
    layers: list[str] = field(default_factory=list)

    @cached_property
    def key(self) -> str:
        """What equal layers of all models have in common: see `key_of`."""
        return key_of(self.call, self._space)

    @cached_property
    def _space(self) -> list[Candidate]:
        return spaces.points(self.call, self.features)

    @cached_property
    def points(self) -> tuple[Candidate, ...]:
        """The space; first comes what a build without measurements takes."""
        able = {c.variant for c in self._space if not c.options and c.kernel is not None}
        return tuple(c for c in self._space if c.variant in able)

    @property
    def default(self) -> Candidate:
        """What a build without measurements takes."""
        return self.points[0]

    @property
    def title(self) -> str:
        """The layer in a few words."""
        return title_of(self.call)


def title_of(call: Call) -> str:
    """A layer in a few words; equal layers have equal ones."""
    shapes = "x".join(map(str, call.inputs[0].shape[1:])) if call.inputs else ""
    name = call.operator.name.removeprefix("tiny.")
    weights = [a.shape for a in call.arguments if isinstance(a, np.ndarray) and a.ndim > 1]
    window = f" by {'x'.join(map(str, weights[0]))}" if weights else ""
    return f"{name} {shapes}{window}"


def point_name(candidate: Candidate) -> str:
    """A point of a layer's space in words: `pairs order=grouped`."""
    options = [f"{name}={value}" for name, value in sorted(candidate.options.items())]
    return " ".join([candidate.variant, *options])


def tasks_of(program: Program, features: Collection[str]) -> list[Task]:
    """The distinct layers of a program that have a choice, in its order."""
    found: dict[str, Task] = {}
    for layer in program.layers:
        if layer.call is not None:
            task = Task(layer.call, frozenset(features))
            found.setdefault(task.key, task).layers.append(layer.name)
    return [task for task in found.values() if len(task.points) > 1]


def key_of(call: Call, candidates: Iterable[Candidate]) -> str:
    """What the cycles of a layer's kernels depend on.

    Shapes and attributes but its name and real scales; of weights only what decides which kernels
    can do the layer, and in which form: the names of their micro-kernels tell. By how much a
    form shifts is one in all.
    """
    attributes = {
        name: value
        for name, value in call.attributes.as_dict().items()
        if name != "layer" and not _is_real(value)
    }
    arguments = [
        [type(argument).__name__, list(argument.shape), str(argument.dtype)]
        for argument in call.arguments
    ]
    forms = [
        [found.variant, found.kernel.name, sorted(_form(f.name) for f in found.kernel.microkernels)]
        for found in candidates
        if not found.options and found.variant != PORTABLE and found.kernel is not None
    ]
    content = [call.operator.name, attributes, arguments, forms]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _is_real(value: object) -> bool:
    return isinstance(value, float) or (
        isinstance(value, (list, tuple)) and any(isinstance(item, float) for item in value)
    )


def _form(name: str) -> str:
    """A micro-kernel's name without the number of bits that it shifts by."""
    return re.sub(r"(floored|rounded)\d+", r"\1", name)
