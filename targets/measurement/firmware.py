"""The measurement server's firmware: built once for a target, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tvm_tiny.targets.elf import Function, read_functions, support_range
from tvm_tiny.targets.image import FIRMWARE_FLAGS, STANDARD_FLAGS, SUPPORT_OPTIMIZATION
from tvm_tiny.targets.linker import layout_for, link
from tvm_tiny.targets.measurement.layout import ServerLayout, server_layout, server_target
from tvm_tiny.targets.plugin import cache_directory
from tvm_tiny.targets.rendering import read_file, render
from tvm_tiny.targets.support import SUPPORT_FOLDER
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import compile_sources, find_arm_compiler

_SHARED = ("fault.h", "semihosting.c", "semihosting.h", "startup.c", "system_registers.h")
_OWN = (
    "server.c",
    "server.h",
    "server_call.c",
    "server_call.h",
    "server_io.h",
    "server_registers.h",
)
_LINES = {"semihosting": "server_io_semihosting.c"}


@dataclass(frozen=True)
class Server:
    """The firmware, where its own code lies, and the two functions that a subject runs between."""

    elf: Path
    layout: ServerLayout
    own_code: Function
    begin: int
    end: int


def build_server(target: Target, line: str = "semihosting") -> Server:
    """The server for a target and the line that it listens on, `semihosting`; built when new."""
    sources = _sources(target, line)
    flags = (*target.compiler_flags, *STANDARD_FLAGS, *FIRMWARE_FLAGS)
    key = hashlib.sha256("\0".join((*flags, target.name, *sources, *sources.values())).encode())
    elf = _built(key.hexdigest()[:16], target, tuple(sources.items()), flags)
    functions = {function.name: function.low for function in read_functions(elf)}
    return Server(
        elf,
        server_layout(target),
        support_range(elf),
        functions["server_begin"],
        functions["server_end"],
    )


def _sources(target: Target, line: str) -> dict[str, str]:
    layout = server_layout(target)
    files = {name: read_file(f"firmware/{name}") for name in _SHARED}
    files |= {name: read_file(f"measurement/firmware/{name}") for name in (*_OWN, _LINES[line])}
    # the server sets the protection unit itself, for each request
    files["mpu_regions.h"] = render("firmware/mpu_regions.h.j2", name=target.name, regions=())
    files["server_memory.h"] = render(
        "measurement/firmware/server_memory.h.j2",
        name=target.name,
        open=layout.open,
        clock_hz=target.board.clock_hz,
    )
    return {f"{SUPPORT_FOLDER}/{name}": text for name, text in files.items()}


@cache
def _built(
    key: str, target: Target, sources: tuple[tuple[str, str], ...], flags: tuple[str, ...]
) -> Path:
    path = cache_directory() / f"server-{key}.elf"
    if path.exists():
        return path
    compiler = find_arm_compiler()
    # built aside and renamed: another process never sees half a file, and the last one wins
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        directory = Path(folder)
        objects = compile_sources(
            compiler, dict(sources), directory, (*flags, *SUPPORT_OPTIMIZATION)
        )
        layout = layout_for(server_target(target))
        os.replace(link(compiler, layout, objects, directory, target.compiler_flags), path)
    return path
