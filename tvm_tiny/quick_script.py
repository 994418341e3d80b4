"""TVMScript's parser, without what it does again for every kernel of the same text.

Kernels are functions within makers: one text, parsed anew for each set of values that it closes
over. TVM reads that text from its file, parses it three times and compiles each expression in it:
most of the time that kernels take to make. Within `quick_script()` what was found is kept, and the
functions that come out are the same. Callers come without a look through all loaded modules for
each of them, and nothing is told where it stands in the source, which nobody here reads.

A part that another version of TVM has not got, or that takes other parameters there, stays as it
is: slower, and right.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, SimpleNamespace
from typing import Any

CORE = "tvm.script.parser.core"
TIR = "tvm.tirx.script.parser"
# Fields of nodes that follow from where a node stands.
PLACE = {"ctx", "lineno", "col_offset", "end_lineno", "end_col_offset"}
NOTHING = nullcontext()
MOST_KEPT = 4096  # texts, or expressions; more than there are, unless code is made on the way


@dataclass(frozen=True)
class Patch:
    """A function of TVM and what stands in its place."""

    owner: Any
    name: str
    usual: Any
    quick: Any


@contextmanager
def quick_script() -> Iterator[None]:
    """Make kernels within this; what they are does not change."""
    before = [(patch, getattr(patch.owner, patch.name)) for patch in patches()]
    for patch in patches():
        setattr(patch.owner, patch.name, patch.quick)
    try:
        yield
    finally:
        for patch, value in before:
            setattr(patch.owner, patch.name, value)


@lru_cache(maxsize=1)
def patches() -> tuple[Patch, ...]:
    """All that this version of TVM allows."""
    wanted: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        (f"{TIR}.entry", "inspect", _inspect_with_quick_stack),
        (f"{CORE}.entry", "Source", _kept_source),
        (f"{CORE}.utils", "_collect_annotation_names", _kept_by_code),
        (f"{CORE}.evaluator", "_eval_expr", _eval_expr),
        # of annotations, which are then translated, and of targets that get another context
        (f"{TIR}.parser", "deepcopy", lambda _: lambda x, memo=None, _nil=(): copy(x)),
        # errors of the parser name places all the same
        (f"{CORE}.parser:Parser", "with_source_span", lambda _: lambda self, node: NOTHING),
    )
    found = (_patch(owner, name, make) for owner, name, make in wanted)
    return tuple(patch for patch in found if patch is not None)


def _patch(path: str, name: str, make: Callable[[Any], Any]) -> Patch | None:
    module, _, inner = path.partition(":")
    try:
        owner = importlib.import_module(module)
        owner = getattr(owner, inner) if inner else owner
        usual = getattr(owner, name)
        quick = make(usual)
    except (ImportError, AttributeError):
        return None
    if callable(quick) and _parameters(quick) != _parameters(usual):
        return None
    return Patch(owner, name, usual, quick)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


class _Kept(threading.local):
    """What was found for a key, in this thread: parsers write into trees while they read them."""

    def __init__(self) -> None:
        self.found: dict[Any, Any] = {}

    def get(self, key: Any, find: Callable[[], Any]) -> Any:
        """The value for the key, found now unless it was before."""
        if key not in self.found:
            if len(self.found) >= MOST_KEPT:
                self.found.clear()
            self.found[key] = find()
        return self.found[key]

    def of_function(self, function: Any, find: Callable[[Any], Any]) -> Any:
        """The value for a function's code, which is kept so that no other gets its identity."""
        if not inspect.isfunction(function):
            return find(function)
        code = function.__code__
        return self.get(id(code), lambda: (code, find(function)))[1]


def _inspect_with_quick_stack(usual: Any) -> Any:
    """The module whose `stack` gives callers with their lines, but without their modules."""

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        frame = sys._getframe(1)
        found = []
        while frame is not None:
            code, line = frame.f_code, frame.f_lineno
            text = [linecache.getline(code.co_filename, line, frame.f_globals)]
            found.append(inspect.FrameInfo(frame, code.co_filename, line, code.co_name, text, 0))
            frame = frame.f_back  # type: ignore[assignment]
        return found

    return SimpleNamespace(**(vars(usual) | {"stack": stack}))


def _kept_by_code(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Names in annotations, for which TVM reads and parses the source once more."""
    kept = _Kept()

    def _collect_annotation_names(source_obj: Any) -> Any:
        return kept.of_function(source_obj, usual)

    return _collect_annotation_names


def _kept_source(usual: type[Any]) -> Callable[..., Any]:
    """Sources whose tree is parsed once, except where functions stand in functions.

    All else that the parser writes into a tree is the same whenever it does so.
    """

    class KeptSource(usual):  # type: ignore[misc]
        tree = None

        def as_ast(self) -> Any:
            if self.source.count("def ") != 1:
                return super().as_ast()
            if self.tree is None:
                self.tree = super().as_ast()
            return self.tree

    kept = _Kept()

    def source(program: Any) -> Any:
        return kept.of_function(program, KeptSource)

    return source


def _eval_expr(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Names and constants are looked up; expressions of the same form share their code."""
    doc = importlib.import_module(f"{CORE}.doc")
    kept = _Kept()

    def compiled(node: Any) -> CodeType:
        whole = ast.fix_missing_locations(ast.Expression(doc.from_doc(node)))
        return compile(whole, "<ast>", "eval")

    def _eval_expr(node: Any, dict_globals: Any) -> Any:
        if _is(node, "Name") and node.id in dict_globals:
            return dict_globals[node.id]
        if _is(node, "Constant"):
            return node.value
        return eval(kept.get(_form(node), lambda: compiled(node)), dict_globals)

    return _eval_expr


def _is(node: Any, kind: str) -> bool:
    return type(node).__name__ == kind


def _form(node: Any) -> Any:
    """All of an expression but where it stands, as a key."""
    if isinstance(node, list | tuple):
        return tuple([_form(part) for part in node])
    if _is(node, "Name"):
        return node.id
    fields = getattr(type(node), "_FIELDS", None)
    if fields is None:
        return repr(node)  # 1, 1.0 and True are equal
    return type(node), *[_form(getattr(node, field)) for field in fields if field not in PLACE]
