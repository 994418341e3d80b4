"""Many subjects to one image: one call of the compiler, one of the linker, for all of them.

Starting the programs takes longer than what they do for a kernel. Each subject still is compiled
as if it were alone: nothing of it is inlined into others, nor are equal functions merged.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Lock

from elftools.elf.elffile import ELFFile

from tvm_tiny.errors import CompileError
from tvm_tiny.targets.board import Memory
from tvm_tiny.targets.cycles import disassemble
from tvm_tiny.targets.cycles.instruction import Program
from tvm_tiny.targets.elf import Function, read_functions
from tvm_tiny.targets.image import FIRMWARE_FLAGS, STANDARD_FLAGS
from tvm_tiny.targets.linker import LIBRARY_FLAGS
from tvm_tiny.targets.plugin import cache_directory
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import (
    DEFAULT_OPTIMIZATION,
    WARNINGS,
    compile_sources,
    find_arm_compiler,
)
from tvm_tiny.tuning.subject import CONSTANT_ALIGN, PREFIX, Subject

TIMEOUT_S = 60.0
_RUNTIME = files("tvm_tiny").joinpath("runtime")
_ASSEMBLY_HEAD = ".syntax unified\n.thumb\n"
_LINK_FLAGS = ("-Timage.ld", "-Wl,-e,0")
_SCRIPT = """\
SECTIONS
{{
    . = {origin:#x};
    .text : {{ KEEP(*(.text.*_layer)) *(.text .text.*) }}
    .rodata : ALIGN(8) {{ *(.rodata .rodata.* .data .data.* .bss .bss.* COMMON) }}
    __constants = ALIGN({align});
    /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab* .comment) }}
}}
"""


@dataclass(frozen=True, eq=False)
class CodeImage:
    """Code of several subjects, ready to be loaded at `origin`; constants begin behind it."""

    elf_bytes: bytes
    code: bytes
    origin: int
    constants: int
    functions: tuple[Function, ...]

    def entry(self, number: int) -> int:
        """The address of a subject's layer."""
        return self._layers[number] | 1

    @cached_property
    def _layers(self) -> dict[int, int]:
        return {
            int(function.name.split("_")[0][1:]): function.low
            for function in self.functions
            if function.name.endswith("_layer")
        }

    @cached_property
    def program(self) -> Program:
        """Its instructions."""
        with tempfile.NamedTemporaryFile(prefix="tvm_tiny-", suffix=".elf") as file:
            file.write(self.elf_bytes)
            file.flush()
            return disassemble(Path(file.name))

    def bytes_at(self, address: int, size: int) -> bytes:
        """The code there."""
        return self.code[address - self.origin : address - self.origin + size]


class Compiler:
    """Compiles subjects for a target into a memory; keeps the objects of the C runtime."""

    def __init__(self, target: Target, code: Memory) -> None:
        """`code` is where images are loaded."""
        self.target, self.code = target, code
        self.program = find_arm_compiler()
        self.flags = (
            *target.compiler_flags,
            *STANDARD_FLAGS,
            *FIRMWARE_FLAGS,
            *DEFAULT_OPTIMIZATION,
        )
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()
        self._include = _runtime_folder(self.flags, self.program)

    def compile(self, subjects: Sequence[Subject]) -> CodeImage:
        """One image of all subjects; raises CompileError if one of them is refused."""
        with tempfile.TemporaryDirectory(prefix="tvm_tiny-") as folder:
            directory = Path(folder)
            objects = self._compile(subjects, directory)
            runtime = dict.fromkeys(name for subject in subjects for name in subject.runtime)
            objects += [str(self._runtime_object(name)) for name in runtime]
            return self._link(subjects, objects, directory)

    def _compile(self, subjects: Sequence[Subject], directory: Path) -> list[str]:
        headers = sorted({header for subject in subjects for header in subject.headers})
        includes = "".join(f'#include "{name}"\n' for name in ("tvm_tiny.h", *headers))
        texts = [_renamed(subject.c_text, number) for number, subject in enumerate(subjects)]
        (directory / "kernels.c").write_text(includes + "\n".join(texts), "utf-8")
        names = ["kernels.c"]
        if any(subject.assembly for subject in subjects):
            texts = [_renamed(subject.assembly, number) for number, subject in enumerate(subjects)]
            (directory / "made.s").write_text(_ASSEMBLY_HEAD + "".join(texts), "utf-8")
            names.append("made.s")
        flags = (*self.flags, *WARNINGS, f"-I{self._include}", "-c")
        self._run("compiler", [self.program, *flags, *names], directory)
        return [f"{name.partition('.')[0]}.o" for name in names]

    def _link(
        self, subjects: Sequence[Subject], objects: Sequence[str], directory: Path
    ) -> CodeImage:
        script = _SCRIPT.format(origin=self.code.origin, align=CONSTANT_ALIGN)
        symbols = [
            f"s{number}_constant_{place.name} = __constants + {place.offset};\n"
            for number, subject in enumerate(subjects)
            for place in subject.constants
        ]
        (directory / "image.ld").write_text(script + "".join(symbols), "utf-8")
        command = [self.program, *self.target.compiler_flags, *LIBRARY_FLAGS, *_LINK_FLAGS]
        self._run("linker", [*command, *objects, "-lm", "-o", "image.elf"], directory)
        image = _read_image(directory / "image.elf", self.code.origin)
        most = max(len(subject.constant_bytes) for subject in subjects)
        if image.constants + most > self.code.end:
            raise CompileError(
                "code and constants have no room in the board's memory",
                where=self.target.name,
                limit=self.code.length,
                found=image.constants + most - self.code.origin,
            )
        return image

    def _runtime_object(self, name: str) -> Path:
        path = self._include / f"{name}.o"
        with self._lock:
            if not path.exists():
                started = time.perf_counter()
                with tempfile.TemporaryDirectory(dir=self._include) as folder:
                    sources = {name: _RUNTIME.joinpath(name).read_text()}
                    flags = (*self.flags, f"-I{self._include}")
                    compile_sources(self.program, sources, Path(folder), flags)
                    (Path(folder) / f"{name}.o").replace(path)
                self.seconds["runtime"] += time.perf_counter() - started
        return path

    def _run(self, kind: str, command: Sequence[str], directory: Path) -> None:
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CompileError(f"the {kind} did not end within {TIMEOUT_S:g} s") from None
        finally:
            with self._lock:
                self.seconds[kind] += time.perf_counter() - started
        if done.returncode != 0:
            raise CompileError(_first_error(done.stderr))


def _renamed(text: str, number: int) -> str:
    return text.replace(PREFIX, f"s{number}")


def _first_error(message: str) -> str:
    lines = message.strip().splitlines()
    return next((line for line in lines if "rror" in line), lines[-1] if lines else "no message")


def _runtime_folder(flags: Sequence[str], compiler: str) -> Path:
    """A folder of the C runtime's headers and, as they are needed, objects for these flags."""
    entries = sorted(_RUNTIME.iterdir(), key=lambda entry: entry.name)
    texts: Mapping[str, str] = {entry.name: entry.read_text() for entry in entries}
    key = sha256("\0".join((compiler, *flags, *texts, *texts.values())).encode()).hexdigest()
    folder = cache_directory() / f"runtime-{key[:16]}"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / name
        if name.endswith(".h") and not path.exists():
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
                file.write(text)
            Path(file.name).replace(path)
    return folder


def _read_image(path: Path, origin: int) -> CodeImage:
    with path.open("rb") as file:
        elf = ELFFile(file)
        code = bytearray()
        for segment in elf.iter_segments("PT_LOAD"):
            start = segment["p_vaddr"] - origin
            code += bytes(max(0, start - len(code)))
            code[start : start + segment["p_filesz"]] = segment.data()
            code += bytes(max(0, start + segment["p_memsz"] - len(code)))
        constants = elf.get_section_by_name(".symtab").get_symbol_by_name("__constants")
        address = constants[0]["st_value"]
    functions = read_functions(path)
    return CodeImage(path.read_bytes(), bytes(code), origin, address, functions)
