"""Which weights and biases training changes: a plan as plain data, and as a JSON file.

Layers are the convolutions and dense layers of a model, by name or by number from the input. The
last of them is the classifier; it always trains whole and is no part of a plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tvm_tiny.errors import PlanError
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate

if TYPE_CHECKING:
    import tvm

    from tvm_tiny.training.layers import TrainableLayer

FORMAT, VERSION = "tvm_tiny update plan", 1
FORMS = "last:K, bias, bias:K, full, NET:SCHEME of the published ones, or a plan's file"


@dataclass(frozen=True)
class LayerPlan:
    """What one layer trains, whatever the rest of the plan says of it.

    `weights` is the share of its input channels, from 0 (none) to 1 (all): those whose weights are
    largest. None leaves weights or bias to the rest of the plan.
    """

    layer: str | int
    weights: float | None = None
    bias: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what is no share and no number of a layer."""
        if self.weights is not None and not 0 <= self.weights <= 1:
            raise PlanError(
                "a share of input channels lies between 0 and 1",
                where=str(self.layer),
                found=self.weights,
            )
        if isinstance(self.layer, int) and self.layer < 0:
            raise PlanError("layers are numbered from 0, the first", found=self.layer)


@dataclass(frozen=True)
class SparseUpdate:
    """What training changes: single layers, and the last so many; None is all of them.

    `layer_count` is how many layers before its classifier a model must have for this plan; None
    is any number.
    """

    layers: tuple[LayerPlan, ...] = ()
    last_weights: int | None = 0
    last_biases: int | None = 0
    layer_count: int | None = None

    def __post_init__(self) -> None:
        """Refuse negative numbers and layers that stand twice."""
        for number in (self.last_weights, self.last_biases, self.layer_count):
            if number is not None and number < 0:
                raise PlanError("a number of layers is not negative", found=number)
        for layer, times in Counter(plan.layer for plan in self.layers).items():
            if times > 1:
                raise PlanError(f"the layer stands {times} times in the plan", where=str(layer))

    @classmethod
    def last(cls, count: int) -> SparseUpdate:
        """Weights and biases of the last `count` layers before the classifier."""
        return cls(last_weights=count, last_biases=count)

    @classmethod
    def bias_only(cls, count: int | None = None) -> SparseUpdate:
        """The biases of the last `count` layers before the classifier; of all without a number."""
        return cls(last_biases=count)

    @classmethod
    def full(cls) -> SparseUpdate:
        """Everything."""
        return cls(last_weights=None, last_biases=None)

    @classmethod
    def published(cls, net: str, name: str) -> SparseUpdate:
        """A scheme of the Tiny Training Engine, such as ("mcunet-5fps", "49kb")."""
        nets = published_schemes()
        if net not in nets:
            raise PlanError(f"no schemes are published for {net!r}", hint=", ".join(nets))
        known = nets[net]
        if name not in known.schemes:
            raise PlanError(f"{net} has no scheme {name!r}", hint=", ".join(known.schemes))
        scheme = known.schemes[name]
        layers = tuple(LayerPlan(int(number), share) for number, share in scheme.weights.items())
        return cls(layers, last_biases=scheme.biases, layer_count=known.layers)

    @classmethod
    def parse(cls, text: str) -> SparseUpdate:
        """A plan from a word on the command line: last:6, bias, full, mcunet-5fps:49kb, a file."""
        word, _, rest = text.partition(":")
        if text == "full":
            return cls.full()
        if text == "bias":
            return cls.bias_only()
        if word in ("last", "bias"):
            if not rest.isdecimal():
                raise PlanError(f"{text!r} is not a plan", hint=FORMS)
            return cls.last(int(rest)) if word == "last" else cls.bias_only(int(rest))
        if word in published_schemes():
            return cls.published(word, rest)
        if not Path(text).is_file():
            raise PlanError(f"{text!r} is neither a plan nor a file", hint=FORMS)
        return cls.from_file(text)

    @classmethod
    def from_file(cls, path: str | Path) -> SparseUpdate:
        """Read what `to_file` wrote. Raises PlanError."""
        try:
            read = msgspec.json.decode(Path(path).read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            raise PlanError(
                f"not an update plan: {error}",
                where=str(path),
                hint="give a file that SparseUpdate.to_file has written",
            ) from error
        if (read.format, read.version) != (FORMAT, VERSION):
            raise PlanError(
                "not an update plan of this version",
                where=str(path),
                limit=f"{FORMAT} {VERSION}",
                found=f"{read.format} {read.version}",
            )
        try:
            layers = tuple(LayerPlan(x.layer, x.weights, x.bias) for x in read.layers)
            return cls(layers, read.last_weights, read.last_biases, read.layer_count)
        except PlanError as error:
            raise PlanError(str(error), where=str(path)) from error

    def to_file(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        text = msgspec.json.format(msgspec.json.encode(self.as_json()), indent=2)
        Path(path).write_bytes(text + b"\n")

    def as_json(self) -> dict[str, object]:
        """The plan as JSON holds it."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def resolve(self, mod: tvm.IRModule) -> tuple[LayerUpdate, ...]:
        """What each convolution and dense layer of a `tiny` module trains, in order.

        The last one, the classifier, trains all. Raises PlanError where plan and module differ.
        """
        from tvm_tiny.training.layers import trainable_layers

        return self.resolve_layers(trainable_layers(mod))

    def resolve_layers(self, layers: Sequence[TrainableLayer]) -> tuple[LayerUpdate, ...]:
        """The same for layers that have been read from a module."""
        *body, classifier = layers
        names = [layer.name for layer in body]
        self._check(names)
        plans = {self._number(plan, names): plan for plan in self.layers}
        if len(plans) < len(self.layers):
            raise PlanError("a layer stands in the plan by its name and by its number")
        updates = [
            self._update(layer, len(body) - number, plans.get(number))
            for number, layer in enumerate(body)
        ]
        return (*updates, LayerUpdate(classifier.name, tuple(range(classifier.channels)), True))

    def _update(self, layer: TrainableLayer, from_end: int, plan: LayerPlan | None) -> LayerUpdate:
        """Of a layer that is the `from_end`th before the classifier."""
        weights = 1.0 if self.last_weights is None or from_end <= self.last_weights else 0.0
        bias = self.last_biases is None or from_end <= self.last_biases
        if plan is not None:
            weights = weights if plan.weights is None else plan.weights
            bias = bias if plan.bias is None else plan.bias
        return LayerUpdate(layer.name, layer.largest_channels(weights), bias)

    def _check(self, names: Sequence[str]) -> None:
        if self.layer_count not in (None, len(names)):
            raise PlanError(
                "the plan is made for a model of another number of layers",
                limit=f"{self.layer_count} before the classifier",
                found=len(names),
            )
        for number in (self.last_weights, self.last_biases):
            if number is not None and number > len(names):
                raise PlanError(
                    f"the plan trains the last {number} layers",
                    limit=f"{len(names)} before the classifier",
                    found=number,
                )

    def _number(self, plan: LayerPlan, names: Sequence[str]) -> int:
        if isinstance(plan.layer, int):
            if plan.layer >= len(names):
                raise PlanError(
                    "the model has not so many layers before its classifier",
                    limit=len(names) - 1,
                    found=plan.layer,
                )
            return plan.layer
        if names.count(plan.layer) != 1:
            count = names.count(plan.layer) or "no"
            raise PlanError(
                f"the model has {count} layers of this name before its classifier",
                where=plan.layer,
                hint="layers are " + ", ".join(names),
            )
        return names.index(plan.layer)


class _FileLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer in a plan's file."""

    layer: str | int
    weights: float | None = None
    bias: bool | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan's file."""

    format: str
    version: int
    layers: tuple[_FileLayer, ...] = ()
    last_weights: int | None = 0
    last_biases: int | None = 0
    layer_count: int | None = None


class Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published scheme: how many of the last biases, and which share of which weights."""

    biases: int
    weights: dict[str, float]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published net: how many layers before the classifier, and its schemes."""

    layers: int
    schemes: dict[str, Scheme]


@cache
def published_schemes() -> dict[str, Published]:
    """All published schemes, by net and name."""
    text = files(__package__).joinpath("schemes.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Published])
