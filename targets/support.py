"""The C files that surround a model: start-up, fault report, semihosting, measuring harness."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tvm_tiny.errors import CompileError
from tvm_tiny.targets.mpu import regions
from tvm_tiny.targets.rendering import read_file, render
from tvm_tiny.targets.target import Target

SUPPORT_FOLDER = "support"  # the linker script knows the harness's objects by this name

_SHARED = ("harness.c", "harness_io.h", "stack_meter.h")
_FIRMWARE = (
    "fault.c",
    "fault.h",
    "harness_io_semihosting.c",
    "semihosting.c",
    "semihosting.h",
    "startup.c",
    "system_registers.h",
)
_HOST = ("harness_io_host.c",)


def firmware_sources(target: Target, model: str, model_header: str) -> dict[str, str]:
    """Everything around the model for a board, by name in the build directory."""
    generated = {
        "mpu_regions.h": render(
            "firmware/mpu_regions.h.j2", name=target.name, regions=regions(target)
        ),
        "harness_model.h": harness_model_header(model, model_header),
    }
    return _in_folder(generated | _read(_SHARED + _FIRMWARE))


def host_sources(model: str, model_header: str) -> dict[str, str]:
    """Everything around the model for the host, by name in the build directory."""
    generated = {"harness_model.h": harness_model_header(model, model_header)}
    return _in_folder(generated | _read(_SHARED + _HOST))


def harness_model_header(model: str, model_header: str) -> str:
    """The header that binds the harness to a model, given the text of the model's own header."""
    prefix = model.upper()
    inputs = _count(model_header, f"{prefix}_INPUT_COUNT")
    row_bytes = [_number(model_header, f"{prefix}_INPUT_{i}_ROW_BYTES") for i in range(inputs)]
    return render(
        "firmware/harness_model.h.j2",
        model=model,
        prefix=prefix,
        inputs=inputs,
        row_bytes=row_bytes,
        has_fast_arena=_number(model_header, f"{prefix}_FAST_ARENA_BYTES") > 0,
        outputs=_count(model_header, f"{prefix}_OUTPUT_COUNT"),
        trains=_number(model_header, f"{prefix}_STATE_BYTES") > 0,
        has_class=_number(model_header, f"{prefix}_TARGET_COUNT") == 1,
    )


def _count(header: str, macro: str) -> int:
    number = _number(header, macro)
    if number == 0:
        raise CompileError(f"the model's header defines no positive number {macro}", where=macro)
    return number


def _number(header: str, macro: str) -> int:
    """The number that a macro stands for, 0 if there is no such macro."""
    found = re.search(rf"^\s*#\s*define\s+{macro}\s+\(?(\d+)", header, re.MULTILINE)
    return int(found[1]) if found else 0


def _read(names: tuple[str, ...]) -> dict[str, str]:
    return {name: read_file(f"firmware/{name}") for name in names}


def _in_folder(sources: Mapping[str, str]) -> dict[str, str]:
    return {f"{SUPPORT_FOLDER}/{name}": text for name, text in sources.items()}
