"""Project templates: folders of data that turn a compiled model into a project of its own.

A template is `templates/<name>/template.toml`: it names each file of the project and the file of
this package that it is made from. Adding a folder adds a template; no code knows their names.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

import msgspec

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.linker import FAULT_STACK_BYTES, layout_for
from tvm_tiny.targets.mpu import regions
from tvm_tiny.targets.rendering import read_file, render
from tvm_tiny.targets.target import Target

_FOLDER = "templates"
_MANIFEST = "template.toml"
_RENDERED = ".j2"
# Under -icount shift=0 every instruction takes a nanosecond, so that time is exact and repeatable.
_EMULATOR_ARGUMENTS = (
    *("-display", "none", "-monitor", "none", "-serial", "none", "-parallel", "none"),
    *("-icount", "shift=0", "-chardev", "stdio,id=console"),
    *("-semihosting-config", "enable=on,target=native,chardev=console"),
)
_INSTRUCTIONS_PER_SECOND = 1_000_000_000


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of project; `needs` is programs that it is built with and what installs them."""

    summary: str
    build: tuple[str, ...]
    run: str
    model_folder: str
    needs: dict[str, str]
    files: dict[str, str]  # path in the project -> path below targets/


@dataclass(frozen=True)
class Port:
    """An input or output as C code sees it; `kind` is "signed", "unsigned" or "float".

    `label` is a C string literal, `values` are C constants: one sample, for inputs only. Inputs by
    rows are asked for by call-back.
    """

    label: str
    description: str
    ctype: str
    kind: str
    values: tuple[str, ...] = ()
    index: int = 0
    is_by_rows: bool = False


@dataclass(frozen=True)
class Contents:
    """The model's part of a project: its files, ports, and where the sample comes from."""

    model: str
    version: str
    files: Mapping[str, str]
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    sample_origin: str
    has_fast_arena: bool = False
    trains: bool = False
    has_class: bool = False  # what the loss compares with is one class


@cache
def templates() -> dict[str, Template]:
    """Every template by name."""
    entries = resources.files(__package__).joinpath(_FOLDER).iterdir()
    folders = sorted(entries, key=lambda entry: entry.name)
    manifests = {folder.name: folder.joinpath(_MANIFEST) for folder in folders if folder.is_dir()}
    return {
        name: decode(manifest.read_text("utf-8"), f"{name}/{_MANIFEST}")
        for name, manifest in manifests.items()
        if manifest.is_file()
    }


def decode(text: str, where: str) -> Template:
    """Read one manifest; `where` names it in errors."""
    try:
        return msgspec.toml.decode(text, type=Template, strict=True)
    except msgspec.DecodeError as error:
        fields = ", ".join(Template.__struct_fields__)
        raise TargetError(str(error), where=where, hint=f"the fields are {fields}") from error


def template(name: str) -> Template:
    """The template of this name; raises TargetError listing all for an unknown one."""
    known = templates()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    raise TargetError(
        f"unknown project template {name!r}; known are {', '.join(known)}",
        where="template",
        hint=f"did you mean {' or '.join(close)}?" if close else "",
    )


def project_files(chosen: Template, target: Target, contents: Contents) -> dict[str, str]:
    """Every file of the project by its path there, in the order of the paths."""
    model = {f"{chosen.model_folder}/{name}": text for name, text in contents.files.items()}
    sources = sorted(path for path in (*chosen.files, *model) if _is_source(path))
    values = _values(chosen, target, contents, sources)
    made = {path: _make(source, values) for path, source in chosen.files.items()}
    return dict(sorted((made | model).items()))


def _make(source: str, values: Mapping[str, object]) -> str:
    if not source.endswith(_RENDERED):
        return read_file(source)
    return render(source, **values)


def _values(
    chosen: Template, target: Target, contents: Contents, sources: Sequence[str]
) -> dict[str, object]:
    """What templates may use; those of the firmware's linker script and MPU table are among it."""
    layout = layout_for(target)
    return {
        **_board_values(target),
        "flash": layout.flash,
        "ram": layout.ram,
        "fast_ram": layout.fast_ram,
        "vectors": layout.vectors,
        "stack_bytes": layout.stack_bytes,
        "fault_stack_bytes": FAULT_STACK_BYTES,
        "regions": regions(target),
        "model": contents.model,
        "prefix": contents.model.upper(),
        "has_fast_arena": contents.has_fast_arena,
        "trains": contents.trains,
        "has_class": contents.has_class,
        "model_folder": chosen.model_folder,
        "sources": sources,
        "version": contents.version,
        "sample_origin": contents.sample_origin,
        "inputs": contents.inputs,
        "outputs": contents.outputs,
    }


def _board_values(target: Target) -> dict[str, object]:
    board, emulator = target.board, target.board.emulator
    tool = (
        "it exists in the emulator only"
        if emulator
        else "load the ELF file with its own tool, such as OpenOCD or pyOCD (see README.md)"
    )
    return {
        "name": target.name,
        "target": target,
        "core": target.core,
        "flags": target.compiler_flags,
        "clock_hz": board.clock_hz,
        "emulator": emulator,
        "emulator_arguments": emulator
        and ("-machine", emulator.machine, *emulator.arguments, *_EMULATOR_ARGUMENTS),
        "instructions_per_tick": f"{_INSTRUCTIONS_PER_SECOND / board.clock_hz:g}",
        "how_to_run": f"{board.name} has no emulator: load the ELF file with a debugger "
        "and run it with Arm semihosting enabled (see README.md)",
        "how_to_flash": f"nothing here writes to {board.name}: {tool}",
    }


def _is_source(path: str) -> bool:
    return PurePosixPath(path).suffix in (".c", ".S")
