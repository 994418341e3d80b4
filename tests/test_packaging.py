"""What pyproject.toml says is what the folders hold and what a wheel brings."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.shared import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINKED = ("relay_passes", "schedules", "targets")


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def folders() -> set[str]:
    """Return every folder that holds an __init__.py, as a package's name."""
    own = [p for p in (REPOSITORY / "tvm_tiny").rglob("__init__.py") if not _through_link(p)]
    found = {".".join(path.parent.relative_to(REPOSITORY).parts) for path in own}
    for layer in LINKED:
        for path in (REPOSITORY / layer).rglob("__init__.py"):
            found.add(".".join(("tvm_tiny", *path.parent.relative_to(REPOSITORY).parts)))
    return found


def _through_link(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents)


def test_packages_are_the_folders() -> None:
    assert set(project()["tool"]["setuptools"]["packages"]) == folders()


def test_folders_map_to_their_packages() -> None:
    mapped = project()["tool"]["setuptools"]["package-dir"]
    outside = {name for name in folders() if name.split(".")[1:2] in [[n] for n in LINKED]}
    assert mapped == {name: "/".join(name.split(".")[1:]) for name in outside}


@pytest.mark.parametrize("layer", LINKED)
def test_links_resolve_to_the_folders(layer: str) -> None:
    link = REPOSITORY / "tvm_tiny" / layer
    if not link.is_symlink():
        pytest.skip("this checkout has no links (core.symlinks=false)")
    assert link.resolve() == (REPOSITORY / layer).resolve()
    assert not link.readlink().is_absolute()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the checkout gets no build folders."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "tests", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    done = subprocess.run(
        [*command, "-w", str(folder), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_all_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"tvm_tiny/py.typed", "tvm_tiny/runtime/tvm_tiny.h"}
    patterns = {
        "tvm_tiny/codegen": "templates/*",
        "tvm_tiny": "runtime/*",
        "tvm_tiny/training": "*.toml",
        "targets": "*/*",
    }
    for folder, pattern in patterns.items():
        prefix = folder if folder.startswith("tvm_tiny") else f"tvm_tiny/{folder}"
        for path in (REPOSITORY / folder).glob(pattern):
            if path.is_file() and path.suffix != ".pyc":
                relative = path.relative_to(REPOSITORY / folder).as_posix()
                expected.add(f"{prefix}/{relative}")
    for path in (REPOSITORY / "targets" / "templates").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            expected.add(f"tvm_tiny/{path.relative_to(REPOSITORY).as_posix()}")
    assert expected - names == set()


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [p for p in (REPOSITORY / "tvm_tiny").rglob("*.py") if not _through_link(p)]
    modules = {path.relative_to(REPOSITORY).as_posix() for path in sources}
    for layer in LINKED:
        for path in (REPOSITORY / layer).rglob("*.py"):
            modules.add(f"tvm_tiny/{path.relative_to(REPOSITORY).as_posix()}")
    assert modules - names == set()


def test_the_wheel_holds_nothing_outside_the_package(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tvm_tiny"}


def test_the_wheel_works_elsewhere(wheel: Path, tmp_path: Path) -> None:
    """The unpacked wheel compiles a board's data and the runtime, away from the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import tvm_tiny, pathlib; from tvm_tiny.targets.target import resolve;"
        "from importlib.resources import files;"
        "assert files('tvm_tiny').joinpath('runtime/tvm_tiny.h').is_file();"
        f"assert pathlib.Path(tvm_tiny.__file__).is_relative_to({str(tmp_path)!r});"
        "print(resolve('microbit', None, None).core.name)"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "cortex-m0", done.stderr


def test_entry_point_is_cheap_and_idempotent() -> None:
    points = project()["project"]["entry-points"]["tvm.backends"]
    assert points == {"tvm_tiny": "tvm_tiny._register:register"}
    from tvm_tiny import _register

    _register.register()
    _register.register()
