"""What passes are, and how a table of (pattern, callback) rules is applied until none matches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.dpl import rewrite_call

from tvm_tiny.errors import TinyError


class GraphPass(ABC):
    """A pass: valid module in, valid module out; its name is its class's."""

    @property
    def name(self) -> str:
        """What TVM's pass instruments and the tests know it by."""
        return type(self).__name__

    @abstractmethod
    def apply(self, module: tvm.IRModule) -> tvm.IRModule:
        """Rewrite `main`; the argument stays as it is."""

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        """Run as a pass of TVM, so that its instruments see it; our own errors stay whole."""
        errors: list[TinyError] = []

        def apply(mod: tvm.IRModule, context: object) -> tvm.IRModule:
            try:
                return self.apply(mod)
            except TinyError as error:
                errors.append(error)
                raise

        run = tvm.transform.module_pass(apply, opt_level=0, name=self.name)
        try:
            return run(module)
        except TinyError as error:  # TVM's C++ keeps nothing but the text
            raise (errors or [error])[0] from None


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
