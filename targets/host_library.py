"""The same C sources as a shared library of this machine, optimised, to be called from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tvm_tiny.targets.toolchain import compile_sources, find_host_compiler, run_tool

# No contraction, no reassociation: every operation rounds as it does in the firmware.
FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-fvisibility=default")


def build_library(sources: Mapping[str, str], name: str, directory: Path) -> Path:
    """Compile a model's sources and link `lib<name>.so` in `directory`.

    Raises MissingToolError, CompileError.
    """
    compiler = find_host_compiler()
    objects = compile_sources(compiler, sources, directory, FLAGS)
    library = f"lib{name}.so"
    run_tool([compiler, "-shared", *objects, "-lm", "-o", library], directory, name)
    return directory / library
