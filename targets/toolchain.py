"""The C compilers: find them, compile a set of sources, link; one clear error when they refuse."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tvm_tiny.errors import CompileError, MissingToolError

DEFAULT_OPTIMIZATION = ("-O2",)

WARNINGS = ("-Wall", "-Wextra", "-Werror")
_COMPILED_SUFFIXES = (".c", ".S")
_WORKERS = 2
_MESSAGE_LINES = 12


def find_program(names: Sequence[str], install: str) -> str:
    """The path of the first of these programs that is installed; `install` tells how to get it."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise MissingToolError(f"{' or '.join(names)} is not installed", hint=install)


def find_arm_compiler() -> str:
    """The bare-metal Arm compiler."""
    return find_program(
        ["arm-none-eabi-gcc"], "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    )


def find_host_compiler() -> str:
    """The compiler of the machine that this runs on."""
    return find_program(["gcc", "cc"], "apt-get install gcc")


def compile_sources(
    compiler: str,
    sources: Mapping[str, str],
    directory: Path,
    flags: Sequence[str],
    file_flags: Mapping[str, Sequence[str]] | None = None,
) -> tuple[str, ...]:
    """Write the sources below `directory` and compile each .c and .S file to an object there.

    Names are relative to `directory`, and so are the objects' names that come back, in the order
    of the sources. Other files are for #include only. `file_flags` adds flags for single files.
    """
    for name, text in sources.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    names = [name for name in sources if PurePosixPath(name).suffix in _COMPILED_SUFFIXES]
    extra = file_flags or {}
    with ThreadPoolExecutor(_WORKERS) as workers:
        return tuple(
            workers.map(
                lambda name: _compile(
                    compiler, name, directory, (*flags, *WARNINGS, *extra.get(name, ()))
                ),
                names,
            )
        )


def _compile(compiler: str, name: str, directory: Path, flags: Sequence[str]) -> str:
    output = f"{name}.o"
    run_tool([compiler, *flags, "-c", name, "-o", output], directory, name)
    return output


def run_tool(command: Sequence[str], directory: Path, where: str) -> None:
    """Run a compiler in `directory`, where all names are relative so that outputs hold no paths."""
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()[:_MESSAGE_LINES]
        raise CompileError("\n    ".join(["the compiler refused it:", *lines]), where=where)
