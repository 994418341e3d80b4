"""Train a published backbone on scikit-learn's digits, with and without quantisation-aware scaling.

    python benchmarks/digits.py [--seeds 3] [--cases qas,plain] [--json FILE]

Each step is the firmware's own C code on this machine, one sample at a time; accuracies are those
of its int8 inference. Needs scikit-learn.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common  # noqa: E402
from benchmarks.table import table  # noqa: E402
from tests.support.shared import shared_folder  # noqa: E402
from tvm_tiny import zoo  # noqa: E402
from tvm_tiny.training.build import build_training  # noqa: E402
from tvm_tiny.training.firmware import TrainingFirmware  # noqa: E402

Array = np.ndarray[Any, Any]
Data = tuple[Array, Array]

TARGET, SCHEME = "mps2-an500", "mcunet-5fps:99kb"
RESOLUTION, CLASSES, LARGEST_PIXEL = 64, 10, 16
TRAIN, TEST = 1000, 500
EPOCHS, WARM_UP = 3, 0.15
HEAD = "classifier"


@dataclass(frozen=True)
class Case:
    """An optimiser and the largest learning rate of its schedule."""

    name: str
    optimizer: str
    rate: float


_CASES = (
    Case("qas", "sgd_qas", 0.002),
    Case("plain", "sgd", 0.002),
    Case("plain-100", "sgd", 100.0),
    Case("plain-1000", "sgd", 1000.0),
)
CASES = {case.name: case for case in _CASES}


def digits(seed: int) -> tuple[Data, Data]:
    """Images to train with and to test with, int8 RGB, drawn from all digits."""
    from sklearn.datasets import load_digits

    known = load_digits()
    chosen = np.random.default_rng(seed).permutation(len(known.target))[: TRAIN + TEST]
    grow = _bilinear(known.images.shape[1], RESOLUTION)
    pixels = (grow @ known.images[chosen] @ grow.T) * (255 / LARGEST_PIXEL) - 128
    grey = np.clip(np.rint(pixels), -128, 127).astype(np.int8)
    images = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    classes = known.target[chosen].astype(np.int32)
    return (images[:TRAIN], classes[:TRAIN]), (images[TRAIN:], classes[TRAIN:])


def _bilinear(size: int, larger: int) -> Array:
    """The matrix that resizes one axis, pixels' centres over each other."""
    places = np.clip((np.arange(larger) + 0.5) * size / larger - 0.5, 0, size - 1)
    first = np.floor(places).astype(int)
    matrix = np.zeros((larger, size))
    matrix[np.arange(larger), first] += 1 - (places - first)
    matrix[np.arange(larger), np.minimum(first + 1, size - 1)] += places - first
    return matrix


def schedule(progress: float) -> float:
    """The rate's factor: it rises, then falls as a cosine."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


def start(firmware: TrainingFirmware, seed: int) -> dict[str, Array]:
    """Weights as built, those of the classifier in an order of the seed's; they are random."""
    firmware.reset()
    generator = np.random.default_rng(seed)
    weights = {
        name: generator.permuted(values.reshape(-1)).reshape(values.shape)
        if name.startswith(HEAD)
        else values
        for name, values in firmware.weights.items()
    }
    firmware.set_weights(weights)
    return weights


def measure(case: Case, firmware: TrainingFirmware, seed: int) -> dict[str, Any]:
    """Train from the start, and test."""
    data, test = digits(seed)
    before = start(firmware, seed)
    untrained = firmware.accuracy(*test)
    began = time.perf_counter()
    history = firmware.fit(
        data, epochs=EPOCHS, rate=lambda progress: case.rate * schedule(progress), seed=seed
    )
    seconds = time.perf_counter() - began
    after = firmware.weights
    body = [name for name in after if after[name].dtype == np.int8 and not name.startswith(HEAD)]
    moved = sum(int(np.sum(after[name] != before[name])) for name in body)
    return {
        "case": case.name,
        "optimizer": case.optimizer,
        "rate": case.rate,
        "seed": seed,
        "accuracy_before": untrained,
        "accuracy": firmware.accuracy(*test),
        "losses": list(history.losses),
        "weights_moved": moved / sum(after[name].size for name in body),
        "seconds_epoch": round(seconds / EPOCHS, 1),
    }


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    rows = []
    for case in _CASES:
        found = [row for row in report["rows"] if row["case"] == case.name]
        if found:
            accuracies = [row["accuracy"] for row in found]
            rows.append(
                [
                    case.name,
                    case.optimizer,
                    f"{case.rate:g}",
                    " ".join(f"{accuracy:.1%}" for accuracy in accuracies),
                    f"{np.mean(accuracies):.1%}",
                    f"{np.mean([row['losses'][-1] for row in found]):.3f}",
                    f"{np.mean([row['weights_moved'] for row in found]):.1%}",
                ]
            )
    titles = ["case", "optimizer", "largest rate", "accuracies", "mean", "last loss", "moved"]
    notes = (
        f"Scikit-learn's digits at {RESOLUTION}x{RESOLUTION}, {TRAIN} to train with and {TEST} to "
        f"test with, another draw, order and classifier for each seed; mcunet-5fps, the scheme "
        f"{SCHEME}; batch 1, {EPOCHS} epochs, warm-up over {WARM_UP:.0%} of the steps, then a "
        "cosine. Steps and inferences are the firmware's C code on this machine. Moved: the share "
        "of the int8 weights in RAM before the classifier that are others after the training. "
        "Plain gradient descent runs at the rate of the scaled one, and at rates so large that "
        "int8 weights move by its gradients."
    )
    return "\n".join(["# Digits", "", *table(titles, rows), "", notes, ""])


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How many.")
@common.name_option("--cases")
@common.json_option("digits")
def main(seeds: int, cases: str, path: Path) -> None:
    """Train with each optimiser and seed, and write the table."""
    npz = shared_folder() / "models" / "tiny_training" / "mcunet-5fps-ptq.npz"
    model = zoo.mcunet_5fps(npz, classes=CLASSES, resolution=RESOLUTION)
    built: dict[str, TrainingFirmware] = {}
    rows = []
    for name in common.chosen(cases, CASES):
        case = CASES[name]
        if case.optimizer not in built:
            built[case.optimizer] = build_training(
                model, TARGET, update=SCHEME, optimizer=case.optimizer, name="digits"
            )
        for seed in range(seeds):
            rows.append(measure(case, built[case.optimizer], seed))
            common.write(path, rows, render)
            row = rows[-1]
            click.echo(
                f"{name}, seed {seed}: {row['accuracy']:.1%}, losses {row['losses']}, "
                f"{row['weights_moved']:.1%} moved, {row['seconds_epoch']} s an epoch"
            )


if __name__ == "__main__":
    main()
