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
from tvm_tiny.schedules.dialect import Call, Options, call_of


def points(call: ir.Call | Call, features: Collection[str] = ()) -> list[Candidate]:
    """All points for a call, defaults first, in the order of `candidates`; some may make None."""
    defaults = candidates(call, features)
    seen = call_of(call).seen_by_kernels
    return defaults + [
        with_options(candidate, seen, options)
        for candidate in defaults
        for options in options_of(candidate, seen)
    ]


def options_of(candidate: Candidate, call: Call) -> Sequence[Options]:
    """The options that a candidate's variant has for a call as kernels see it."""
    operator = call.operator
    owners = {v.name: v.options for v in operator.variants} | {PORTABLE: operator.options}
    return owners[candidate.variant](call.attributes, *call.arguments)


def with_options(candidate: Candidate, call: Call, options: Options) -> Candidate:
    """The same variant made with options; what it costs is taken for the default's."""
    operator = call.operator
    makers = {v.name: v.kernel for v in operator.variants} | {PORTABLE: operator.kernel}
    make = partial(makers[candidate.variant], call.attributes, *call.arguments, **options)
    return replace(candidate, make=make, options=dict(options))
