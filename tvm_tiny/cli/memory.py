"""`tvm-tiny memory`: what a model needs, told from its shapes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvm_tiny.cli import terminal
from tvm_tiny.cli.options import json_option

ARCHITECTURE = ".json"


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--patch",
    metavar="ROWSxCOLS@SPLIT",
    help="Run the first SPLIT convolutions patch by patch: ROWS x COLS patches of their result.",
)
@json_option
def memory(model: Path, patch: str | None, json_file: str | None) -> None:
    """Tell peak memory, MACs and parameters of MODEL.

    Nothing is compiled: bytes are counted layer by layer, activations as int8.
    MODEL is a .tflite, .onnx or .pt2 file, or the .json of a once-for-all architecture.
    """
    from tvm_tiny.analysis import Patch
    from tvm_tiny.analysis import memory as analyse

    chosen = None if patch is None else Patch.parse(patch)
    with terminal.phase(f"reading {model}"):
        source = _source(model)
    report = analyse(source, patch=chosen)
    terminal.emit(str(report), report.as_json(), json_file)


def _source(model: Path) -> Any:
    if model.suffix == ARCHITECTURE:
        from tvm_tiny.zoo import from_config

        return from_config(model)
    from tvm_tiny.importers import load

    return load(model)
