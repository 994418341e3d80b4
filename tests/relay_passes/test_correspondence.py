"""One pass, one file, one name, one test file."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import REPOSITORY
from tvm_tiny.relay_passes._rewrite import GraphPass

FOLDER = REPOSITORY / "relay_passes"
MODULES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
HERE = Path(__file__).parent


def passes_of(stem: str) -> dict[str, Any]:
    """Return the pass classes that a module defines."""
    module = import_module(f"tvm_tiny.relay_passes.{stem}")
    members = inspect.getmembers(module, inspect.isclass)
    own = {name: kind for name, kind in members if kind.__module__ == module.__name__}
    return {name: k for name, k in own.items() if issubclass(k, GraphPass)}


PASSES = [stem for stem in MODULES if passes_of(stem)]


def test_there_are_passes() -> None:
    assert set(PASSES) >= {"quantized_to_tiny", "sink_transposes", "fold_pads", "fold_lookups"}


@pytest.mark.parametrize("stem", PASSES)
def test_a_file_holds_the_pass_of_its_name(stem: str) -> None:
    name = "".join(part.capitalize() for part in stem.split("_"))
    (found,) = passes_of(stem).items()
    assert found[0] == name
    assert found[1]().name == name


@pytest.mark.parametrize("stem", MODULES)
def test_every_module_has_a_test_file(stem: str) -> None:
    assert (HERE / f"test_{stem}.py").exists()


def test_every_test_file_has_its_module() -> None:
    tested = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")}
    private = {path.stem.lstrip("_") for path in FOLDER.glob("_*.py")}
    assert tested - private - {"correspondence", "whole_models"} <= set(MODULES)
