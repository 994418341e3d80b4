"""Options that commands share."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tvm_tiny.relay_passes.optimizer import BY_NAME

STDOUT = "-"
GOALS = ("speed", "balanced", "size")
SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20}


class Bytes(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """A number of bytes: 65536, 256k or 1M."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read one value; k is 1024 bytes, M 1024 k."""
        match = re.fullmatch(r"(\d+)([km]?)", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a number of bytes such as 65536, 256k or 1M", param, ctx)
        return int(match[1]) * SUFFIXES[match[2]]


class TemplateName(click.ParamType):  # type: ignore[type-arg]
    """The name of a project template; the list is read when somebody asks for it."""

    name = "template"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """All names, for the help text."""
        from tvm_tiny.targets.project import templates

        return f"[{'|'.join(templates())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an unknown name at once."""
        from tvm_tiny.targets.project import template

        template(value)
        return str(value)


@dataclass(frozen=True)
class Source:
    """A model and what to make of it, as given on the command line."""

    model: Path
    target: str | None
    sram: int | None
    flash: int | None
    name: str | None
    optimize: str | None
    patch: str | None = None
    input_rows: bool = False
    integer_io: bool = False
    fast_sram: int | None = None
    database: str | None = None

    @property
    def is_artefact(self) -> bool:
        """Whether the model is firmware that `build` has written."""
        return self.model.is_dir() or self.model.suffix == ".tar"


optimizer_option = click.option(
    "--optimizer",
    type=click.Choice(list(BY_NAME)),
    default="sgd_qas",
    show_default=True,
    help="How weights follow their gradients: gradient descent, with quantisation-aware scaling "
    "(sgd_qas) or without (sgd), with momentum, or Adam, which trains float models alone.",
)

_MODEL_OPTIONS = (
    click.argument("model", type=click.Path(exists=True, path_type=Path)),
    click.option(
        "--target",
        metavar="T",
        help="Board or core, see `tvm-tiny targets`. Needed unless MODEL is built already.",
    ),
    click.option("--sram", type=Bytes(), help="Limit of the SRAM: bytes, or 256k, 1M."),
    click.option("--flash", type=Bytes(), help="Limit of the Flash: bytes, or 256k, 1M."),
    click.option(
        "--fast-sram",
        type=Bytes(),
        help="Bytes of the board's fast memory for the tensors used most. Default: none.",
    ),
    click.option(
        "--optimize",
        type=click.Choice(GOALS),
        help="Choose kernels: the fastest that fit (speed, the default), at most 1.3 times the "
        "int8 weights and 40 KB of Flash (balanced), or less still, at up to 100 "
        "instructions a byte (size).",
    ),
    click.option(
        "--patch",
        metavar="auto|off|ROWSxCOLS@SPLIT",
        help="Keep only parts of large tensors: where the SRAM has no room for whole ones (auto, "
        "the default), never (off), or the first SPLIT convolutions in so many patches.",
    ),
    click.option("--input-rows", is_flag=True, help="The input arrives row by row, by call-back."),
    click.option(
        "--integer-io", is_flag=True, help="Float inputs and outputs become int8, with their scale."
    ),
    click.option(
        "--database",
        metavar="DIR|none",
        help="Measured kernels, of which the fastest are taken: what `tvm-tiny tune` has written. "
        "Default: those that come with this package; none: the table of costs alone.",
    ),
    click.option("--name", help="Prefix of all C names. Default: the name of the model's file."),
)


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument MODEL and its options, as one `Source`."""

    @functools.wraps(command)
    def wrapped(
        *,
        model: Path,
        target: str | None,
        sram: int | None,
        flash: int | None,
        fast_sram: int | None,
        name: str | None,
        optimize: str | None,
        patch: str | None,
        input_rows: bool,
        integer_io: bool,
        database: str | None,
        **others: Any,
    ) -> None:
        made = (patch, input_rows, integer_io, fast_sram, database)
        command(Source(model, target, sram, flash, name, optimize, *made), **others)

    return functools.reduce(
        lambda function, option: option(function), _MODEL_OPTIONS[::-1], wrapped
    )


def check_writable(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse before any work what could not be written after it."""
    if value is None or value == STDOUT:
        return value
    path = Path(value)
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "it is a folder" if path.is_dir() else f"no folder {folder} to write to"
        raise click.ClickException(f"cannot write {path}: {why}")
    return value


json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE",
    callback=check_writable,
    help="Also write the result as JSON; - is standard output, with nothing else there.",
)
input_option = click.option(
    "--input",
    "input_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npy of the model's own dtype and shape, or an .npz with one array per input. "
    "A longer first axis holds several samples. Default: a random sample, always the same.",
)
force_option = click.option(
    "--force", is_flag=True, help="Write even where something else is already."
)
