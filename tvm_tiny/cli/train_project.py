"""`tvm-tiny train-project`: a project whose firmware trains."""

from __future__ import annotations

from pathlib import Path

import click

from tvm_tiny.cli import terminal
from tvm_tiny.cli.files import check_free, remove_old, writing
from tvm_tiny.cli.options import (
    GOALS,
    Bytes,
    TemplateName,
    force_option,
    json_option,
    optimizer_option,
)


@click.command("train-project")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, metavar="T", help="Board or core.")
@click.option("--template", type=TemplateName(), required=True, help="Kind of project.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder to write the project to.",
)
@click.option(
    "--update",
    metavar="PLAN",
    required=True,
    help="What is trained: last:K, bias, bias:K, full, NET:SCHEME, or a plan's file.",
)
@optimizer_option
@click.option("--sram", type=Bytes(), help="Limit of the SRAM: bytes, or 256k, 1M.")
@click.option("--flash", type=Bytes(), help="Limit of the Flash: bytes, or 256k, 1M.")
@click.option("--optimize", type=click.Choice(GOALS), default="speed", help="Choose kernels.")
@click.option("--name", help="Prefix of all C names. Default: the name of the model's file.")
@force_option
@json_option
def train_project(
    model: Path,
    target: str,
    template: str,
    output: Path,
    update: str,
    optimizer: str,
    sram: int | None,
    flash: int | None,
    optimize: str,
    name: str | None,
    force: bool,
    json_file: str | None,
) -> None:
    """Write a project that builds firmware to train MODEL.

    Building it needs no Python. Its main function takes some steps on one sample and prints the
    losses. MODEL is an int8 or float .tflite, .onnx or .pt2 file.
    """
    from tvm_tiny.targets.project import template as template_of
    from tvm_tiny.training.build import build_training

    chosen = template_of(template)
    check_free(output, force, chosen.model_folder)
    with terminal.phase(f"building the training of {model.name} for {target}"):
        built = build_training(
            model,
            target,
            update=update,
            optimizer=optimizer,
            sram=sram,
            flash=flash,
            optimize=optimize,
            name=name,
        )
    with writing(output):
        remove_old(output / chosen.model_folder)
        files = built.write_project(output, template)
    steps = [*chosen.build, *([chosen.run] if built.firmware.target.emulated else [])]
    facts = {
        "name": built.firmware.name,
        "target": built.firmware.target.name,
        "template": template,
        "optimizer": optimizer,
        "output": str(output),
        **built.memory(),
        "files": files,
        "steps": steps,
    }
    terminal.emit(
        "\n".join([f"wrote {len(files)} files", f"cd {output}", *steps]), facts, json_file
    )
