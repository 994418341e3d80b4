"""The whole space of kernels for a call: every variant in every form that it has.

`candidates` are what a build takes without measurements; a point beside them is a variant made with
options. All points have one meaning, and which is the fastest on a core is found by measuring.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from tvm import ir

from tvm_tiny.schedules.candidates import PORTABLE, Candidate, candidates
from tvm_tiny.schedules.dialect import Call, Kernel, Options, call_of
from tvm_tiny.schedules.instruction_order import ORDER, kernel_in_order


def points(call: ir.Call | Call, features: Collection[str] = ()) -> list[Candidate]:
    """All points for a call, defaults first, in the order of `candidates`; some may make None."""
    defaults = candidates(call, features)
    return defaults + [point for candidate in defaults for point in forms(candidate, call)]


def forms(candidate: Candidate, call: ir.Call | Call) -> list[Candidate]:
    """A default's variant made with each of its options; orders are made of what they order."""
    seen = call_of(call).seen_by_kernels
    made: list[Candidate] = [candidate]
    for options in options_of(candidate, seen):
        rest = {name: value for name, value in options.items() if name != ORDER}
        base = next((point for point in made if point.options == rest), None)
        made.append(with_options(candidate, seen, options, base if ORDER in options else None))
    return made[1:]


def options_of(candidate: Candidate, call: Call) -> Sequence[Options]:
    """The options that a candidate's variant has for a call as kernels see it."""
    operator = call.operator
    owners = {v.name: v.options for v in operator.variants} | {PORTABLE: operator.options}
    return owners[candidate.variant](call.attributes, *call.arguments)


def with_options(
    candidate: Candidate, call: Call, options: Options, base: Candidate | None = None
) -> Candidate:
    """The same variant made with options; what it costs is taken for the default's.

    `base` is the point without the option of an order, which is made once for all orders.
    """
    operator = call.operator
    makers = {v.name: v.kernel for v in operator.variants} | {PORTABLE: operator.kernel}
    make = partial(makers[candidate.variant], call.attributes, *call.arguments, **options)
    if base is not None:
        make = partial(_in_order, base, str(options[ORDER]))
    return replace(candidate, make=make, options=dict(options))


def _in_order(base: Candidate, order: str) -> Kernel | None:
    return kernel_in_order(base.kernel, order) if base.kernel else None
