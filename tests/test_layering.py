"""Imports only go down; boards and cores are known to targets alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shared import REPOSITORY

ORDER = ("targets", "schedules", "relay_passes")  # low to high; tvm_tiny itself is on top
OPEN = ("errors", "version")  # modules without imports, for everybody
OWN = [
    path
    for path in sorted((REPOSITORY / "tvm_tiny").rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents)
]


def sources(layer: str) -> list[Path]:
    return sorted((REPOSITORY / layer).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("layer", ORDER)
def test_imports_only_go_down(layer: str) -> None:
    assert sources(layer)
    allowed = "|".join((*ORDER[: ORDER.index(layer) + 1], *OPEN))
    upward = re.compile(rf"^\s*(from|import) tvm_tiny(?!\.({allowed})\b).*", re.MULTILINE)
    for path in sources(layer):
        found = upward.search(path.read_text())
        assert found is None, f"{name_of(path)} imports from above: {found and found[0]}"


@pytest.mark.parametrize("layer", ["schedules", "relay_passes"])
def test_nothing_above_targets_knows_them(layer: str) -> None:
    """Models of cycles, which orders of instructions are chosen by, know neither."""
    for path in sources(layer):
        text = path.read_text().replace("tvm_tiny.targets.cycles", "")
        assert "tvm_tiny.targets" not in text, name_of(path)


@pytest.mark.parametrize("layer", ORDER)
def test_folders_are_imported_under_one_name(layer: str) -> None:
    direct = re.compile(rf"^\s*(from|import) ({'|'.join(ORDER)})\b", re.MULTILINE)
    for path in [*sources(layer), *OWN, *sorted((REPOSITORY / "tests").rglob("*.py"))]:
        assert not direct.search(path.read_text()), name_of(path)


def texts_of(path: Path) -> list[str]:
    """Return all string constants of a file but its docstrings."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [c.value for c in constants if isinstance(c.value, str) and id(c) not in prose]


def test_boards_and_cores_are_data_of_targets() -> None:
    names = [re.escape(path.stem) for path in sorted((REPOSITORY / "targets").glob("*/*.toml"))]
    assert len(names) > 10
    known = re.compile(rf"(cortex-m|mps2|mps3|nucleo|{'|'.join(names)})")
    for path in [*OWN, *sources("schedules"), *sources("relay_passes")]:
        found = [text for text in texts_of(path) if known.match(text)]
        assert not found, f"{name_of(path)}: {found}"


@pytest.mark.parametrize("module", OPEN)
def test_modules_open_to_all_import_nothing_of_the_package(module: str) -> None:
    text = (REPOSITORY / "tvm_tiny" / f"{module}.py").read_text()
    assert not re.search(r"^\s*(from|import) tvm_tiny", text, re.MULTILINE)


def imported(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_does_not_import_tvm() -> None:
    assert "tvm" not in imported("import tvm_tiny")


def test_architectures_are_analysed_without_tvm() -> None:
    code = "import tvm_tiny; from tvm_tiny import zoo; tvm_tiny.memory(zoo.mobilenet_v2())"
    assert "tvm" not in imported(code)


@pytest.mark.slow
def test_extras_are_imported_where_they_are_used() -> None:
    extras = {"torch", "torchao", "onnxruntime", "tflite_micro", "matplotlib", "xgboost", "optuna"}
    used = imported(
        "import tvm_tiny.build_firmware, tvm_tiny.firmware, tvm_tiny.cli, tvm_tiny.importers"
    )
    # TVM itself imports torch where it is installed
    assert "tvm" in used and not (used - imported("import tvm")) & extras
