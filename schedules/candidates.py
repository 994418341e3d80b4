"""All kernels that can compute a call on a core, the fastest first, each made when asked for.

How fast a variant is says the table of costs.py, for this call's work. A variant without a row is
taken for twice as fast as the best of those behind it in the operator's own order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from tvm import ir

from tvm_tiny.schedules import costs
from tvm_tiny.schedules.costs import Pieces, Work
from tvm_tiny.schedules.dialect import Call, Kernel, Options, call_of

PORTABLE = "portable"
GAIN_OF_ORDER = 0.5  # instructions of a variant without a row, for one of the best behind it
SLOW = 20  # instructions for a multiply-accumulate or an output, more than any kernel needs


@dataclass(frozen=True)
class Measured:
    """Exact instructions of a call, and estimated cycles if the core has a cycle model."""

    instructions: int
    cycles: int | None = None


class Catalogue(ABC):
    """A core's kernels, by one who knows more of them than the table of costs."""

    @abstractmethod
    def candidates(self, call: Call) -> list[Candidate]:
        """What the core may take for a call, the cheapest first; the last resort is among them."""


# What is said of a core: its features, or a catalogue of its kernels.
Features = Collection[str] | Catalogue


@dataclass(frozen=True)
class Candidate:
    """A variant for a call; `instructions` are predicted, 0 where nothing is known of them.

    `options` are those that the kernel is made with; the default has none. `measured` are the
    figures of a measurement on the core, and `price` is what choices compare where a catalogue has
    given one: a number of one kind for all candidates of a program.
    """

    operator: str
    variant: str
    instructions: int
    make: Callable[[], Kernel | None]
    options: Options = field(default_factory=dict, hash=False)
    measured: Measured | None = None
    price: int | None = None

    @property
    def cost(self) -> int:
        """What a choice makes small: the price, or instructions where there is none."""
        return self.instructions if self.price is None else self.price

    @cached_property
    def kernel(self) -> Kernel | None:
        """Its kernel; None if it can't do the call."""
        return self.make()

    @cached_property
    def pieces(self) -> Pieces:
        """What it brings into the Flash; nothing if it can't do the call."""
        return costs.pieces_of(self.operator, self.variant, self.kernel) if self.kernel else {}

    @property
    def scratch_bytes(self) -> int:
        """Memory beside its tensors."""
        return self.kernel.scratch.nbytes if self.kernel and self.kernel.scratch else 0

    @property
    def is_measured(self) -> bool:
        """Whether its figures come from measurements; others are only put in order."""
        has_row = costs.table().row(self.operator, self.variant) is not None
        return self.measured is not None or has_row

    def cycles(self, model: str) -> int | None:
        """Estimated cycles by a core's cycle model; None where nothing is known of them."""
        if self.measured is not None and self.measured.cycles is not None:
            return self.measured.cycles
        row = costs.table().row(self.operator, self.variant)
        each = row.cycles.get(model) if row else None
        return None if each is None else round(self.instructions * each)


def _predicted(operator: str, variant: str, work: Work, behind: Sequence[Candidate]) -> int:
    """Instructions of a variant; `behind` are those that the operator's order puts after it."""
    row = costs.table().row(operator, variant)
    if row is not None:
        return costs.instructions(row, work)
    slowest = SLOW * round(work.units["macs"] + work.units["outputs"])
    return round(GAIN_OF_ORDER * min((c.instructions for c in behind), default=slowest))


def candidates(call: ir.Call | Call, features: Features = ()) -> list[Candidate]:
    """What a core with `features` may take for a call; the last resort can do all calls."""
    if isinstance(features, Catalogue):
        return features.candidates(call_of(call))
    call = call_of(call).seen_by_kernels
    operator, attrs, arguments = call.operator, call.attributes, call.arguments
    makers: dict[str, Callable[..., Kernel | None]] = {
        v.name: v.kernel for v in operator.variants if v.features.issubset(features)
    }
    makers[PORTABLE] = operator.kernel
    is_known = len(makers) > 1 or costs.table().row(operator.name, PORTABLE) is not None
    work = costs.work_of(call) if is_known else None
    found: list[Candidate] = []
    for variant, make in reversed(makers.items()):
        predicted = _predicted(operator.name, variant, work, found) if work else 0
        found.insert(
            0, Candidate(operator.name, variant, predicted, partial(make, attrs, *arguments))
        )
    return sorted(found, key=lambda candidate: candidate.instructions)
