"""The emulator's counting plugins: built once with the host compiler, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from tvm_tiny.targets.toolchain import WARNINGS, find_host_compiler, run_tool

_HEADERS = ("instructions.h", "qemu_plugin_v1.h")
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", *WARNINGS)


@cache
def plugin_path(name: str = "count") -> Path:
    """A plugin as a shared object; builds it when no earlier build has the same source.

    `count` counts one inference of a firmware, `serve` each run of the measurement server.
    """
    program = f"{name}.c"
    sources = {
        file: resources.files(__package__).joinpath("plugin", file).read_bytes()
        for file in (program, *_HEADERS)
    }
    key = hashlib.sha256(b"\0".join([platform.platform().encode(), *sources.values()]))
    path = cache_directory() / f"{name}-{key.hexdigest()[:16]}.so"
    if not path.exists():
        _build(program, sources, path)
    return path


def cache_directory() -> Path:
    """A folder of the user's for what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME")
    for folder in (Path(base) if base else Path.home() / ".cache", Path(tempfile.gettempdir())):
        path = folder / "tvm_tiny"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path
    return Path(tempfile.mkdtemp(prefix="tvm_tiny-"))


def _build(program: str, sources: dict[str, bytes], path: Path) -> None:
    compiler = find_host_compiler()
    # built aside and renamed: another process never sees half a file, and the last one wins
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        directory = Path(folder)
        for file, text in sources.items():
            (directory / file).write_bytes(text)
        run_tool([compiler, *_FLAGS, program, "-o", "plugin.so"], directory, "emulator plugin")
        os.replace(directory / "plugin.so", path)
