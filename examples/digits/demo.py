"""The demo: the digits model compiled, run on an emulated Cortex-M4 over its test set, measured."""

from pathlib import Path

import numpy as np
from rich.console import Console

import tvm_tiny
from tvm_tiny.report import tables

FOLDER = Path(__file__).parent
TARGET = "mps2-an386"


def main() -> None:
    """Compile, run and print."""
    console = Console()
    test = np.load(FOLDER / "digits_test.npz")
    console.print(f"Compiling digits.onnx for {TARGET} ...")
    firmware = tvm_tiny.build(FOLDER / "digits.onnx", TARGET)
    console.print(f"Running {len(test['labels'])} test digits on the emulator ...")
    result = firmware.run(test["images"])
    right = int((result.output.argmax(axis=1) == test["labels"]).sum())
    console.print(tables(result))
    console.print(f"accuracy: {right} of {len(test['labels'])} digits right")


if __name__ == "__main__":
    main()
