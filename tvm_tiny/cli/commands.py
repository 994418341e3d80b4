"""The commands.

Whatever needs TVM is imported when a command needs it: help and lists come at once.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvm_tiny.cli import sources, terminal
from tvm_tiny.cli.files import check_free, remove_old, writing
from tvm_tiny.cli.options import (
    Source,
    TemplateName,
    check_writable,
    force_option,
    input_option,
    json_option,
    takes_model,
)
from tvm_tiny.errors import TinyError
from tvm_tiny.version import VERSION

if TYPE_CHECKING:
    from tvm_tiny.targets.target import Target


class _Commands(click.Group):
    """Every error for users ends as one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TinyError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="tvm-tiny")
def main() -> None:
    """Compile int8 models to Cortex-M firmware, run it on an emulator, and measure it.

    \b
      tvm-tiny run model.tflite --target cortex-m4 --input x.npy --output y.npy
      tvm-tiny profile model.tflite --target cortex-m7
      tvm-tiny build model.onnx --target nucleo-l4r5zi -o firmware/
      tvm-tiny project model.onnx --target mps2-an386 --template make -o project/
    """


@main.command()
@takes_model
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR_OR_TAR",
    help="Where to write C sources, ELF and metadata.json: a folder, or a name ending in .tar.",
)
@force_option
@json_option
def build(source: Source, output: Path, force: bool, json_file: str | None) -> None:
    """Compile MODEL to C sources and an ELF file.

    MODEL is a .tflite, .onnx or .pt2 file.
    """
    check_free(output, force)
    firmware = sources.firmware_of(source)
    with writing(output):
        remove_old(output)
        firmware.save(output)
    facts = sources.facts_of(firmware) | {"output": str(output)}
    terminal.emit(
        "\n".join(f"{name:25} {terminal.plain(value)}" for name, value in facts.items()),
        facts,
        json_file,
    )


@main.command()
@takes_model
@input_option
@click.option(
    "--output",
    "output_file",
    type=click.Path(path_type=Path),
    callback=check_writable,
    help="Where to write output 0 (.npy) or all outputs by name (.npz).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"How long the emulator may take. Default: {sources.FIRST_SAMPLE_S:g}, and "
    f"{sources.FURTHER_SAMPLE_S:g} more for every further sample.",
)
@json_option
def run(
    source: Source,
    input_file: Path | None,
    output_file: Path | None,
    timeout: float | None,
    json_file: str | None,
) -> None:
    """Run MODEL on the target's emulator.

    Shows the outputs of all samples, and what was measured on the first.

    MODEL is a .tflite, .onnx or .pt2 file, or what `tvm-tiny build` wrote.
    """
    if output_file and output_file.suffix not in (".npy", ".npz"):
        raise click.UsageError(f"--output must end in .npy or .npz, not {output_file.name}")
    firmware = sources.firmware_of(source)
    inputs = sources.inputs_of(firmware, input_file)
    with terminal.phase(f"running on {firmware.target.board.name}"):
        result = firmware.run(inputs, timeout_s=timeout or sources.patience(firmware, inputs))
    if output_file:
        from tvm_tiny.cli.array_files import write_outputs

        with writing(output_file):
            write_outputs(output_file, result)
    terminal.emit(
        terminal.outputs_text(result) + "\n" + firmware.report(result), result.as_json(), json_file
    )


@main.command()
@takes_model
@input_option
@json_option
def profile(source: Source, input_file: Path | None, json_file: str | None) -> None:
    """Measure every layer of MODEL.

    Runs one sample; shows memory, instructions (exact) and cycles (estimated).
    MODEL is a .tflite, .onnx or .pt2 file, or what `tvm-tiny build` wrote.
    """
    firmware = sources.firmware_of(source)
    inputs = sources.inputs_of(firmware, input_file)
    with terminal.phase(f"running on {firmware.target.board.name}"):
        result = firmware.profile(inputs)
    terminal.emit(firmware.report(result), result.as_json(), json_file)


@main.command()
@takes_model
@click.option("--template", type=TemplateName(), required=True, help="Kind of project.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder to write the project to.",
)
@input_option
@force_option
@json_option
def project(
    source: Source,
    template: str,
    output: Path,
    input_file: Path | None,
    force: bool,
    json_file: str | None,
) -> None:
    """Write a project that builds MODEL's firmware.

    Building it needs no Python. Its main function runs one sample (the first of --input) and
    prints outputs and time. MODEL is a .tflite, .onnx or .pt2 file, or what `tvm-tiny build` wrote.
    """
    from tvm_tiny.targets.project import template as template_of

    chosen = template_of(template)
    check_free(output, force, chosen.model_folder)
    firmware = sources.firmware_of(source)
    inputs = sources.inputs_of(firmware, input_file)
    from tvm_tiny.project import write_project

    with writing(output):
        remove_old(output / chosen.model_folder)
        files = write_project(firmware, output, template, inputs)
    steps = [*chosen.build, *([chosen.run] if firmware.target.emulated else [])]
    facts = {
        "name": firmware.name,
        "target": firmware.target.name,
        "template": template,
        "output": str(output),
        "files": files,
        "steps": steps,
    }
    terminal.emit(
        "\n".join([f"wrote {len(files)} files", f"cd {output}", *steps]), facts, json_file
    )


@main.command()
@json_option
def targets(json_file: str | None) -> None:
    """List boards and cores."""
    from tvm_tiny.targets.target import all_targets

    facts = [_target_facts(target) for target in all_targets()]
    table = terminal.table("target", "core", "Flash", "SRAM", "run", "cycle estimate")
    for fact in facts:
        table.add_row(
            fact["name"],
            fact["core"],
            f"{fact['flash_bytes'] >> 10:,} KB",
            f"{fact['sram_bytes'] >> 10:,} KB",
            "emulated" if fact["emulated"] else "build only",
            "yes" if fact["cycle_estimate"] else "no",
        )
    terminal.emit(terminal.render(table), facts, json_file)


@main.command()
@click.option(
    "--calibrate",
    "anchors",
    is_flag=False,
    flag_value="built-in",
    metavar="[FILE]",
    help="Instead compare estimated cycles with those of boards: rows of board, model, cycles and "
    "kind (own or published) in a CSV file, or the published ones that are built in.",
)
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the built-in table's models are looked for.",
)
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, anchors: str | None, models: Path | None, json_file: str | None
) -> None:
    """Tell what is missing on this machine.

    Looks for compilers, emulator and Python packages, and names the line that brings each.
    The exit code is 1 when something is missing that building or running needs.
    """
    if anchors is not None:
        from tvm_tiny.cli.calibrate import calibrate

        calibrate(anchors, models, json_file)
        return
    from tvm_tiny.doctor import examine

    with terminal.phase("looking"):
        checks = list(examine())
    table = terminal.table("", "what", "found", "to get it")
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.required else "-"
        table.add_row(mark, check.name, check.found, check.fix)
    terminal.emit(terminal.render(table), [asdict(check) for check in checks], json_file)
    if any(check.required and not check.ok for check in checks):
        ctx.exit(1)


def _target_facts(target: Target) -> dict[str, Any]:
    from tvm_tiny.targets.cycles import MODELS

    return {
        "name": target.name,
        "core": target.core.name,
        "board": target.board.name,
        "flash_bytes": target.flash_bytes,
        "sram_bytes": target.sram_bytes,
        "emulated": target.emulated,
        "cycle_estimate": target.core.cycle_model in MODELS,
    }
