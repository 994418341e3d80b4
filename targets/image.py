"""From a model's C sources to what runs: firmware for a target, a program for the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tvm_tiny.errors import CompileError
from tvm_tiny.targets.elf import Function, Sizes, measure, read_functions
from tvm_tiny.targets.host import SANITIZER_FLAGS
from tvm_tiny.targets.linker import layout_for, link
from tvm_tiny.targets.profile import ProfileRanges, profile_ranges
from tvm_tiny.targets.support import SUPPORT_FOLDER, firmware_sources, host_sources
from tvm_tiny.targets.target import Target
from tvm_tiny.targets.toolchain import (
    DEFAULT_OPTIMIZATION,
    compile_sources,
    find_arm_compiler,
    find_host_compiler,
    run_tool,
)

STANDARD_FLAGS = ("-std=c99", f"-I{SUPPORT_FOLDER}")
FIRMWARE_FLAGS = (
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
# The harness is the same in every build, whatever the model is compiled with. Its loops stay loops:
# memcpy and the like would add library code to images whose model does not need it.
SUPPORT_OPTIMIZATION = ("-Os", "-fno-tree-loop-distribute-patterns")


@dataclass(frozen=True)
class Image:
    """Firmware: the ELF file and what is known about it."""

    elf: Path
    model_name: str
    target: Target
    sizes: Sizes
    functions: tuple[Function, ...]
    profile: ProfileRanges


def build_image(
    sources: Mapping[str, str],
    model_name: str,
    target: Target,
    directory: Path,
    *,
    optimization: Sequence[str] = DEFAULT_OPTIMIZATION,
    stack_bytes: int | None = None,
    file_flags: Mapping[str, Sequence[str]] | None = None,
) -> Image:
    """Compile and link a model with the measuring harness for `target`, in `directory`.

    `sources` maps relative file names to text; one of them is `<model_name>.h`.
    """
    layout = layout_for(target, stack_bytes)
    compiler = find_arm_compiler()
    header, include = _model_header(sources, model_name)
    support = firmware_sources(target, model_name, header)
    optimized = {name: (*optimization, *(file_flags or {}).get(name, ())) for name in sources}
    objects = compile_sources(
        compiler,
        {**support, **sources},
        directory,
        (*target.compiler_flags, *STANDARD_FLAGS, *FIRMWARE_FLAGS, include, _prefix_map(directory)),
        {**dict.fromkeys(support, SUPPORT_OPTIMIZATION), **optimized},
    )
    elf = link(compiler, layout, objects, directory, target.compiler_flags)
    return Image(
        elf=elf,
        model_name=model_name,
        target=target,
        sizes=measure(elf),
        functions=read_functions(elf),
        profile=profile_ranges(elf, model_name),
    )


def build_host_image(
    sources: Mapping[str, str],
    model_name: str,
    directory: Path,
    *,
    optimization: Sequence[str] = ("-O1",),
    file_flags: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Compile a model with the measuring harness for this machine, with sanitisers; the program."""
    compiler = find_host_compiler()
    header, include = _model_header(sources, model_name)
    support = host_sources(model_name, header)
    flags = (*STANDARD_FLAGS, *SANITIZER_FLAGS, *optimization, include)
    objects = compile_sources(compiler, {**support, **sources}, directory, flags, file_flags)
    run_tool([compiler, *SANITIZER_FLAGS, *objects, "-lm", "-o", model_name], directory, model_name)
    return directory / model_name


def _model_header(sources: Mapping[str, str], model_name: str) -> tuple[str, str]:
    """The text of the model's header, and the flag that lets it be included by its bare name."""
    for name, text in sources.items():
        path = PurePosixPath(name)
        if path.name == f"{model_name}.h":
            return text, f"-I{path.parent}"
    raise CompileError(f"the sources have no {model_name}.h", where=model_name)


def _prefix_map(directory: Path) -> str:
    return f"-ffile-prefix-map={directory.resolve()}=."
