"""`build`: a model and a target to firmware."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvm_tiny import _register, importers
from tvm_tiny.analysis import Patch
from tvm_tiny.codegen.identifiers import identifier
from tvm_tiny.errors import DoesNotFitError
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import describe
from tvm_tiny.pipeline import compile_module
from tvm_tiny.relay_passes.choose_kernels import Limits
from tvm_tiny.relay_passes.fit_memory import Staging
from tvm_tiny.schedules.candidates import Catalogue
from tvm_tiny.targets.linker import largest_arena, largest_fast_arena
from tvm_tiny.targets.target import Target, resolve
from tvm_tiny.tuning.choose import Records, kernels_of


def build(
    model: Any,
    target: str | Target,
    *,
    name: str | None = None,
    sram: int | None = None,
    flash: int | None = None,
    fast_sram: int | None = None,
    optimize: str = "speed",
    patch: str | tuple[int, int, int] = "auto",
    input_rows: bool = False,
    integer_io: bool = False,
    database: str | Path | Records | None = None,
) -> Firmware:
    """Compile `model` for `target` and link it.

    `model` is anything `load` takes: a path (.tflite, .onnx, .pt2), an onnx.ModelProto, a
    torch.export.ExportedProgram or a Relax IRModule. `target` is a board or a core; `sram` and
    `flash` are hard limits in bytes. Of the board's fast memory, `fast_sram` bytes hold the tensors
    that are read and written most, none by default. `name` prefixes every C symbol (default: the
    file's name).
    `optimize` is "speed" (the fastest kernels that fit), "balanced" (at most 1.3 times the int8
    weights and 40 KB of Flash, if that is possible) or "size" (less still,
    at up to 100 instructions a byte). `patch` is "auto" (layers run by strips of rows where the
    SRAM has no room for whole tensors), "off", or (rows, columns, split), as text "2x2@6": what
    the first `split` convolutions make in so many patches. With `input_rows` the model asks for
    its input row by row, by call-back, and it need not be whole in the SRAM. With `integer_io`
    float inputs and outputs that are quantised at once become int8 ones with that scale and zero
    point. `database` has measured kernels, of which the fastest are taken: a folder that `tune`
    has written, None for the one that comes with this package, "none" for the table of costs alone.

    Raises ModelError, UnsupportedError, TargetError, DoesNotFitError, MissingToolError.
    """
    _register.register()
    chosen = target if isinstance(target, Target) else resolve(target, sram, flash, fast_sram)
    symbol = identifier(name or default_name(model))
    kernels = kernels_of(chosen, database)
    limits = Limits(
        optimize,
        chosen.flash_bytes,
        largest_arena(chosen),
        largest_fast_arena(chosen),
        isinstance(kernels, Catalogue),
    )
    staging = Staging(_grid(patch), input_rows, integer_io)
    module = importers.load(model)
    with counting_stacks(chosen):
        compiled = compile_module(module, symbol, kernels, limits, staging)
    metadata = describe(compiled, chosen)
    return Firmware.link(compiled.code.files, metadata, chosen)


def _grid(patch: str | tuple[int, int, int]) -> str | tuple[int, int, int]:
    """Rows, columns and split of a text that gives them; auto and off as they are."""
    if not isinstance(patch, str) or "@" not in patch:
        return patch
    parsed = Patch.parse(patch)
    return parsed.rows, parsed.columns, parsed.split


@contextmanager
def counting_stacks(target: Target) -> Iterator[None]:
    """Errors of arenas that do not fit count what else is in the SRAM, as the limit does."""
    beside = target.sram_bytes - largest_arena(target)
    try:
        yield
    except DoesNotFitError as error:
        needed = int(str(error.found)) + beside
        raise DoesNotFitError(
            error.what, where=error.where, limit=target.sram_bytes, found=needed, hint=error.hint
        ) from error


def default_name(model: Any) -> str:
    """The C name of a model that was given none: its file's name, or `model`."""
    return Path(model).stem if isinstance(model, (str, Path)) else "model"
