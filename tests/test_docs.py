"""The how-to pages and the README do what they say: their code blocks are run."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.shared import REPOSITORY
from tvm_tiny.cli import main
from tvm_tiny.schedules import dialect
from tvm_tiny.targets import board as board_module
from tvm_tiny.targets import target as target_module
from tvm_tiny.targets.board import Board, boards, decode

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOW_TO = sorted(path.name for path in (REPOSITORY / "docs").glob("add_a_*.md"))
MOST_STEPS = 5


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is what its first line names, if it is a file's content."""

    language: str
    text: str

    @property
    def file(self) -> str:
        found = re.match(r"# (\S+\.(?:py|toml))$", self.text, re.MULTILINE)
        return found[1] if found else ""


def blocks(page: str) -> list[Block]:
    text = (REPOSITORY / page).read_text()
    return [Block(*found) for found in BLOCK.findall(text)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, in which pages may write files."""
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", HOW_TO)
def test_pages_are_short(page: str) -> None:
    steps = re.findall(r"^\*\*(\d)\. ", (REPOSITORY / "docs" / page).read_text(), re.MULTILINE)
    assert 1 < len(steps) <= MOST_STEPS
    assert steps == [str(number) for number in range(1, len(steps) + 1)]


def load(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Write a block to the file that it names, and import that under its name in the project."""
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    stem = block.file.removesuffix(".py").replace("/", ".")
    name = stem if stem.startswith("tests.") else f"tvm_tiny.{stem}"
    assert importlib.util.find_spec(name) is None, f"{name} is there already: choose another"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["add_a_pass.md", "add_a_kernel.md"])
def test_source_and_its_test(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "OPERATORS", dict(dialect.OPERATORS))
    modules = [load(block, tmp_path, monkeypatch) for block in blocks(f"docs/{page}")]
    assert len(modules) == 2
    tests = inspect.getmembers(modules[-1], inspect.isfunction)
    ran = [run_test(function, tmp_path) for name, function in tests if name.startswith("test_")]
    assert ran


def run_test(function: Any, folder: Path) -> bool:
    wants_folder = bool(inspect.signature(function).parameters)
    function(folder) if wants_folder else function()
    return True


@pytest.mark.parametrize("page", ["add_a_pass.md", "add_a_kernel.md"])
def test_blocks_pass_the_linter(page: str, tmp_path: Path) -> None:
    for block in blocks(f"docs/{page}"):
        path = tmp_path / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    config = str(REPOSITORY / "pyproject.toml")
    # which imports are the project's own, and what is a test, shows only in the repository
    options = ["--config", config, "--ignore", "D1,I"]
    command = [sys.executable, "-m", "ruff", "check", *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_names_in_the_pages_are_there() -> None:
    """Files that a page tells to edit exist, and name what it says."""
    assert "GRAPH_PASSES = (" in (REPOSITORY / "tvm_tiny/pipeline.py").read_text()
    assert "QUANTIZED" in (REPOSITORY / "relay_passes/_qdq_rules.py").read_text()
    assert "__all__" in (REPOSITORY / "schedules/__init__.py").read_text()


@pytest.mark.parametrize(
    "page", ["architecture.md", "kernels.md", "memory.md", "training.md", "tuning.md"]
)
def test_files_in_the_pages_are_there(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text()
    paths = re.findall(r"`((?:\w+/)+[\w*]+\.(?:py|c|h|toml))`", text)
    assert paths
    for path in paths:
        assert list(REPOSITORY.glob(path)), path


def test_memory_page(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python, command = (
        next(block for block in blocks("docs/memory.md") if text in block.text)
        for text in ("from tvm_tiny import zoo", "tvm-tiny memory")
    )
    exec(compile(python.text, "memory.md", "exec"), {})
    assert "peak, patches" in capsys.readouterr().out
    (_, *arguments) = shlex.split(command.text)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "peak, patches" in result.output


@pytest.mark.qemu
def test_training_page(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (python,) = blocks("docs/training.md")
    exec(compile(python.text, "training.md", "exec"), {})
    assert "instructions a step" in capsys.readouterr().out


def known_boards(monkeypatch: pytest.MonkeyPatch, *added: Board) -> None:
    """Make boards known as if their files lay in the folder."""
    known = {**boards(), **{board.name: board for board in added}}
    for module in (board_module, target_module):
        monkeypatch.setattr(module, "boards", lambda: known)


def test_board(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, use, change = blocks("docs/add_a_board.md")
    name = Path(file.file).stem
    known_boards(monkeypatch, decode(file.text, Board, name))
    exec(compile(use.text, "add_a_board.md", "exec"), {})
    assert (workplace / "digits.tar").stat().st_size > 0
    emulated = file.text.replace('transport = "none"\n', "") + "\n[emulator]\n"
    settings, table = change.text.split("[emulator]\n")
    content = settings + emulated.replace("[emulator]\n", "") + "[emulator]\n" + table
    assert decode(content, Board, name).emulator is not None


# --- README -----------------------------------------------------------------------------------

README = "README.md"


@pytest.mark.qemu
def test_readme_python(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in blocks(README) if block.language == "python"]
    exec(compile(example.text, README, "exec"), {})
    assert "instructions" in capsys.readouterr().out


@pytest.mark.qemu
def test_readme_commands(workplace: Path) -> None:
    commands = [
        line
        for block in blocks(README)
        for line in block.text.splitlines()
        if block.language == "sh" and line.startswith("tvm-tiny ")
    ]
    assert len(commands) >= 3
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        arguments = shlex.split(command, comments=True)
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_readme_makefile_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    wanted = re.findall(r"make ([a-z]+)", (REPOSITORY / README).read_text())
    assert {"demo", "test"} <= set(wanted)
    for target in wanted:
        assert f"\n{target}:" in makefile, target


def test_readme_names_every_operator() -> None:
    """Those that only training needs stand on its page."""
    text = "".join((REPOSITORY / page).read_text() for page in (README, "docs/training.md"))
    missing = [name for name in dialect.OPERATORS if f"`{name.removeprefix('tiny.')}`" not in text]
    assert not missing


def test_readme_names_every_board_and_core() -> None:
    text = (REPOSITORY / README).read_text()
    missing = [name for name in (*boards(), *board_module.cores()) if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("page", [README, "docs/training.md", *(f"docs/{name}" for name in HOW_TO)])
def test_pages_are_free_of_local_paths(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert not re.search(r"(?<![\w.])/(work|home|root|tmp|usr)/", text)


@pytest.mark.parametrize("page", [README, "docs/training.md", *(f"docs/{name}" for name in HOW_TO)])
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link
