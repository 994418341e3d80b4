"""What each bias and each weight gains in accuracy when it is trained: measured one by one.

Biases are trained from the end on: that of a layer needs the gradient of all behind it. Weights are
measured on top of all biases, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tvm_tiny.errors import PlanError
from tvm_tiny.training.layers import trainable_layers
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate

if TYPE_CHECKING:
    import tvm

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
FORMAT, VERSION = "tvm_tiny contributions", 1

Evaluate = Callable[[SparseUpdate], float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Contributions:
    """Gains in accuracy over training only the classifier.

    `layers` are all before the classifier, from the input. `biases[k]` is the gain of the last
    k + 1 biases, `weights[k][s]` that of the share `shares[s]` of the weights of the layer that is
    k + 1 before the classifier, beyond the gain of all biases.
    """

    layers: tuple[str, ...]
    shares: tuple[float, ...]
    classifier: float
    biases: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse tables that are not whole."""
        is_whole = len(self.biases) == len(self.weights) <= len(self.layers)
        if not is_whole or any(len(row) != len(self.shares) for row in self.weights):
            raise PlanError("the table of contributions is not whole")
        if not all(0 < share <= 1 for share in self.shares):
            raise PlanError("shares of weights lie above 0, up to 1", found=self.shares)

    @property
    def depth(self) -> int:
        """How many layers have been measured: the last ones before the classifier."""
        return len(self.biases)

    def gain(self, biases: int, weights: dict[int, int]) -> float:
        """The sum of a plan: so many last biases, and of layers from the end the share's number."""
        own = self.biases[biases - 1] if biases else 0.0
        return float(own + sum(self.weights[layer][share] for layer, share in weights.items()))

    def plan(self, biases: int, weights: dict[int, int]) -> SparseUpdate:
        """The plan that `gain` speaks of."""
        chosen = tuple(
            LayerPlan(self._key(layer), self.shares[weights[layer]])
            for layer in sorted(weights, reverse=True)
        )
        return SparseUpdate(chosen, last_biases=biases, layer_count=len(self.layers))

    def to_file(self, path: str | Path) -> None:
        """Write the table as JSON."""
        text = msgspec.json.encode({"format": FORMAT, "version": VERSION, **asdict(self)})
        Path(path).write_bytes(msgspec.json.format(text, indent=2) + b"\n")

    @classmethod
    def from_file(cls, path: str | Path) -> Contributions:
        """Read what `to_file` wrote. Raises PlanError."""
        try:
            read = msgspec.json.decode(Path(path).read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            raise PlanError(f"not a table of contributions: {error}", where=str(path)) from error
        if (read.format, read.version) != (FORMAT, VERSION):
            raise PlanError(
                "not a table of contributions of this version",
                where=str(path),
                limit=f"{FORMAT} {VERSION}",
                found=f"{read.format} {read.version}",
            )
        return cls(read.layers, read.shares, read.classifier, read.biases, read.weights)

    def _key(self, layer: int) -> str | int:
        """A layer's name, or its number where two have the same."""
        number = len(self.layers) - 1 - layer
        name = self.layers[number]
        return name if self.layers.count(name) == 1 else number


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table's file."""

    format: str
    version: int
    layers: tuple[str, ...]
    shares: tuple[float, ...]
    classifier: float
    biases: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]


def measure_contributions(
    mod: tvm.IRModule,
    evaluate: Evaluate,
    *,
    shares: tuple[float, ...] = SHARES,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Contributions:
    """Train once for every bias and every share of a weight of a `tiny` module.

    `evaluate(plan)` trains by the plan and gives the accuracy, on whatever data; one made of a
    torch module is tvm_tiny.torch.evaluate_plans.PlanAccuracy. Only the last
    `depth` layers before the classifier are measured; all without a number. `progress` is called
    with how many of all trainings are done.
    """
    names = tuple(layer.name for layer in trainable_layers(mod)[:-1])
    count = len(names) if depth is None else depth
    if not 0 < count <= len(names):
        raise PlanError("so many layers cannot be measured", limit=len(names), found=count)
    trainings = _Trainings(evaluate, progress, 1 + count * (1 + len(shares)))
    classifier = trainings.accuracy(SparseUpdate())
    biases = [trainings.accuracy(SparseUpdate.bias_only(last)) for last in range(1, count + 1)]
    weights = [
        [trainings.accuracy(_alone(len(names) - last, count, share)) for share in shares]
        for last in range(1, count + 1)
    ]
    return Contributions(
        names,
        shares,
        classifier,
        tuple(accuracy - classifier for accuracy in biases),
        tuple(tuple(accuracy - biases[-1] for accuracy in row) for row in weights),
    )


def _alone(number: int, biases: int, share: float) -> SparseUpdate:
    return SparseUpdate((LayerPlan(number, share),), last_biases=biases)


class _Trainings:
    """Counts trainings, and refuses accuracies that are no numbers."""

    def __init__(self, evaluate: Evaluate, progress: Progress | None, total: int) -> None:
        self.evaluate, self.progress = evaluate, progress
        self.done, self.total = 0, total

    def accuracy(self, plan: SparseUpdate) -> float:
        found = float(self.evaluate(plan))
        if not math.isfinite(found):
            raise PlanError(f"the accuracy of a plan is {found}", where=str(plan))
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        return found
