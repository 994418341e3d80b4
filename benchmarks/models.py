"""Build and measure every model on every core; write a table as JSON and as Markdown.

    python benchmarks/models.py [--models kws01,ic01] [--targets cortex-m4] [--json FILE]

Kernels are chosen by the table of costs alone: benchmarks/tuning.py compares measured ones with
these. Everything but `build_seconds` is the same on every run.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tvm_tiny  # noqa: E402
from benchmarks import common  # noqa: E402
from benchmarks.table import PEERS, read_peers, render  # noqa: E402
from tests.support import tflm  # noqa: E402
from tests.support.shared import reference_data, shared_folder  # noqa: E402
from tvm_tiny.arrays import random_inputs  # noqa: E402
from tvm_tiny.firmware import Firmware  # noqa: E402
from tvm_tiny.result import RunResult  # noqa: E402
from tvm_tiny.tuning.choose import NO_DATABASE  # noqa: E402

Array = np.ndarray[Any, Any]

TIMEOUT_S = 1200.0
SMALL = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LARGE = ("cortex-m4", "cortex-m7", "cortex-m55")
FIELDS = (
    "instructions",
    "cycles_estimated",
    "arena_bytes",
    "arena_lower_bound_bytes",
    "stack_bytes",
    "flash_code_bytes",
    "flash_weights_bytes",
)


@dataclass(frozen=True)
class Model:
    """A model file below the shared models (digits: the project's own) and where it runs."""

    name: str
    file: str
    targets: tuple[str, ...] = SMALL
    reference: str = ""  # key of its reference inputs

    @property
    def path(self) -> Path:
        """Where the file is."""
        folder = ROOT if self.name == "digits" else shared_folder() / "models"
        return folder / self.file


_MODELS = (
    Model("digits", "examples/digits/digits.onnx"),
    Model("ad01", "mlperf_tiny/ad01_int8.tflite", reference="ad"),
    Model("ic01", "mlperf_tiny/ic01_resnet8_int8.tflite", reference="ic"),
    Model("kws01", "mlperf_tiny/kws01_dscnn_int8.tflite", reference="kws"),
    Model("vww01", "mlperf_tiny/vww01_mbv1_int8.tflite", reference="vww"),
    Model("mcunet-vww1", "mcunet/mcunet-vww1.tflite", LARGE),
    Model("mcunet-320kb", "mcunet/mcunet-320kb-1mb_imagenet.tflite", LARGE),
    Model("mcunetv2_large", "mcunet/mcunetv2_large.tflite", LARGE),
)
MODELS = {model.name: model for model in _MODELS}


def measure(model: Model, target: str) -> dict[str, Any]:
    """Build, run and compare; what goes wrong is written into the row."""
    row: dict[str, Any] = {"model": model.name, "target": target}
    start = time.perf_counter()
    try:
        firmware = tvm_tiny.build(model.path, target, name=model.name, database=NO_DATABASE)
        row["build_seconds"] = round(time.perf_counter() - start, 1)
        inputs = inputs_of(model, firmware)
        result = firmware.run(inputs, timeout_s=TIMEOUT_S)
    except Exception as error:  # one broken model must not hide the others
        return row | {"error": f"{type(error).__name__}: {error}"}
    row |= {field: getattr(result, field) for field in FIELDS}
    row["macs"] = sum(layer.macs for layer in result.layers)
    return row | {"exact": is_exact(model, inputs, firmware, result)}


def inputs_of(model: Model, firmware: Firmware) -> list[Array]:
    """Return the reference inputs, the first test digit, or random numbers of a fixed seed."""
    if model.reference:
        _, inputs, _ = reference_data(model.reference)
        return [inputs]
    if model.name == "digits":
        with np.load(model.path.with_name("digits_test.npz")) as data:
            return [data["images"][:1]]
    return random_inputs(firmware.metadata.inputs)


def is_exact(
    model: Model, inputs: list[Array], firmware: Firmware, result: RunResult
) -> bool | None:
    """Say whether all outputs have the bits of TFLite Micro; None where it can't run the model."""
    if model.path.suffix != ".tflite" or not tflm.have_tflm():
        return None
    ports = zip(inputs, firmware.metadata.inputs, strict=True)
    columns = [array.reshape(-1, *port.shape) for array, port in ports]
    samples = [list(sample) for sample in zip(*columns, strict=True)]
    expected = tflm.run(model.path.read_bytes(), samples)
    return all(
        np.array_equal(ours.reshape(len(samples), -1)[index], theirs.reshape(-1))
        for index, outputs in enumerate(expected)
        for ours, theirs in zip(result.outputs, outputs, strict=True)
    )


@click.command()
@common.name_option("--models")
@common.name_option("--targets")
@common.json_option("models")
def main(models: str, targets: str, path: Path) -> None:
    """Measure models and write the table."""
    rows = []
    cores = common.chosen(targets, SMALL)
    for name in common.chosen(models, MODELS):
        model = MODELS[name]
        if not model.path.exists():
            click.echo(f"{model.name}: {model.file} is not here, skipped")
            continue
        for target in (core for core in model.targets if core in cores):
            rows.append(measure(model, target))
            click.echo(summary(rows[-1]))
    common.write(path, rows, lambda report: render(report, read_peers(PEERS)))


def summary(row: dict[str, Any]) -> str:
    """Return a row as a line of progress."""
    name = f"{row['model']} on {row['target']}"
    if "error" in row:
        return f"{name}: {row['error'].splitlines()[0]}"
    facts = f"{row['instructions']:,} instructions, arena {row['arena_bytes']:,} bytes"
    return f"{name}: {facts}, exact {row['exact']}, built in {row['build_seconds']} s"


if __name__ == "__main__":
    main()
