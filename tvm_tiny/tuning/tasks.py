"""What there is to tune in a model: its distinct layers, and the points of each one's space."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tvm_tiny.relay_passes.program import Program
from tvm_tiny.schedules import numerics, requantization, scaling, spaces
from tvm_tiny.schedules.candidates import Candidate
from tvm_tiny.schedules.costs import flash_bytes
from tvm_tiny.schedules.dialect import Call
from tvm_tiny.schedules.requantization import RequantizeAttributes
from tvm_tiny.targets.target import Target

_VALUES = ("input_zero_point", "output_zero_point", "clamp_min", "clamp_max")


@dataclass(frozen=True, eq=False)
class Task:
    """A layer to be tuned: the model's layers of this name and all that are equal to it."""

    call: Call
    features: frozenset[str]
    layers: list[str] = field(default_factory=list)

    @cached_property
    def key(self) -> str:
        """What equal layers of all models have in common: see `key_of`."""
        return key_of(self.call)

    @cached_property
    def _space(self) -> list[Candidate]:
        return spaces.points(self.call, self.features)

    @cached_property
    def points(self) -> tuple[Candidate, ...]:
        """The space; first comes what a build without measurements takes."""
        return tuple(c for c in self._space if c.variant in self.able)

    @cached_property
    def able(self) -> tuple[str, ...]:
        """The variants that can do the layer, what a build without measurements takes first.

        Equal layers may differ in that, by their weights.
        """
        return tuple(c.variant for c in self._space if not c.options and c.kernel is not None)

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


def refusal(candidate: Candidate, target: Target) -> str:
    """Why a target has no room for a point's kernel, even alone; nothing where it has.

    That is known before anything is compiled, and is no measurement: other targets have more.
    """
    if candidate.kernel is None:
        return ""
    needs = {
        "Flash": (flash_bytes([candidate.pieces]), target.flash_bytes),
        "scratch": (candidate.scratch_bytes, target.sram_bytes),
    }
    too_much = (
        f"needs {found:,} bytes of {what}, of {limit:,}"
        for what, (found, limit) in needs.items()
        if found > limit
    )
    return next(too_much, "")


def tasks_of(program: Program, features: Collection[str]) -> list[Task]:
    """The distinct layers of a program that have a choice, in its order."""
    found: dict[tuple[str, tuple[str, ...]], Task] = {}
    for layer in program.layers:
        if layer.call is not None:
            task = Task(layer.call, frozenset(features))
            found.setdefault((task.key, task.able), task).layers.append(layer.name)
    return [task for task in found.values() if len(task.points) > 1]


def key_of(call: Call) -> str:
    """What the cycles of a layer's kernels depend on, told without making any.

    Shapes and attributes but its name and real scales; of zero points, clamps and weights only
    what decides the form that kernels have.
    """
    attributes = {
        name: value
        for name, value in call.attributes.as_dict().items()
        if name != "layer" and not _is_real(value)
    }
    if isinstance(call.attributes, RequantizeAttributes):
        for name in _VALUES:
            del attributes[name]
        attributes["form"] = _form(call, call.attributes)
    arguments = [
        [type(argument).__name__, list(argument.shape), str(argument.dtype)]
        for argument in call.arguments
    ]
    content = [call.operator.name, attributes, arguments]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _is_real(value: object) -> bool:
    return isinstance(value, float) or (
        isinstance(value, (list, tuple)) and any(isinstance(item, float) for item in value)
    )


def _form(call: Call, attrs: RequantizeAttributes) -> list[object]:
    """How a layer's sums become int8: what is clamped, and which roundings are exact."""
    low, high = attrs.clamp_min, attrs.clamp_max
    clamps = [low > numerics.INT8_MIN, high < numerics.INT8_MAX, low >= attrs.output_zero_point]
    constants = [argument for argument in call.arguments if isinstance(argument, np.ndarray)]
    if len(constants) < len(call.arguments) - 1:
        return [*clamps]  # weights that are trained are tensors
    weight, bias, multiplier, shift = constants
    is_depthwise = weight.ndim == 3
    taps = weight.reshape(-1, len(bias)).T if is_depthwise else weight.reshape(len(bias), -1)
    bias, is_wide = requantization.bounded_bias(taps, bias, multiplier, shift, attrs)
    layer = scaling.layer_of(attrs, taps, bias, multiplier, shift)
    forms = [scaling.choose(layer), scaling.rounded(layer)]
    names = [form and re.sub(r"\d+$", " by one shift", form.name) for form in forms]
    return [*clamps, is_wide, *names, int(np.sign(shift.max()))]
