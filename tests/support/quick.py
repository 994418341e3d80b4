"""Cases of which `make check` takes a few, and `make test` takes all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest


def quick_first(
    names: str, cases: Iterable[Any], quick: int = 1, ids: Sequence[str] | None = None
) -> pytest.MarkDecorator:
    """Run a test for each of the cases, of which all but the first `quick` are slow."""
    cases = list(cases)
    return _marked(names, cases, range(quick), ids)


def quick_some(
    names: str, cases: Iterable[Any], every: int, also: Collection[Any] = ()
) -> pytest.MarkDecorator:
    """Run a test for each of the cases; all but each `every`th and those in `also` are slow."""
    cases = list(cases)
    quick = [n for n, case in enumerate(cases) if n % every == 0 or case in also]
    return _marked(names, cases, quick, None)


def _marked(
    names: str, cases: Sequence[Any], quick: Collection[int], ids: Sequence[str] | None
) -> pytest.MarkDecorator:
    several = "," in names
    sets = [
        case
        if number in quick
        else pytest.param(*(case if several else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]
    return pytest.mark.parametrize(names, sets, ids=ids)


def names_that_run(request: pytest.FixtureRequest, names: Iterable[str]) -> list[str]:
    """Return those of a module's cases that a fixture is for.

    Its tests take a case as `name`; where one of those that run doesn't, it may be any.
    """
    tests = [
        test
        for test in request.session.items
        if isinstance(test, pytest.Function)
        and test.module is request.module
        and request.fixturename in test.fixturenames
    ]
    taken = {_case_of(test) for test in tests}
    return [name for name in names if None in taken or name in taken]


def _case_of(test: pytest.Function) -> Any:
    return test.callspec.params.get("name") if hasattr(test, "callspec") else None
