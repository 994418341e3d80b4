"""Apply a table of (pattern, callback) rules to every function of a module, until none applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.dpl import rewrite_call

Rule = tuple[Any, Callable[..., Any]]
MAX_ROUNDS = 100  # far above any real chain; a rule that undoes another must not hang


def apply_rules(module: tvm.IRModule, rules: Sequence[Rule]) -> tvm.IRModule:
    """Rewrite `main` by the rules in order, again and again while something changes."""
    function = module["main"]
    for _ in range(MAX_ROUNDS):
        before = function
        for pattern, callback in rules:
            function = rewrite_call(pattern, callback, function)
        if tvm_ffi.structural_equal(before, function):
            break
    cleaned = relax.transform.CanonicalizeBindings()(tvm.IRModule({"main": function}))
    return relax.transform.DeadCodeElimination()(cleaned)
