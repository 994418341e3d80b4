"""The demo: the digits model compiled, run on an emulated Cortex-M4 over its test set, measured."""

from pathlib import Path

import numpy as np

import tvm_tiny

FOLDER = Path(__file__).parent
TARGET = "mps2-an386"


def main() -> None:
    """Compile, run and print."""
    test = np.load(FOLDER / "digits_test.npz")
    print(f"Compiling digits.onnx for {TARGET} ...")
    firmware = tvm_tiny.build(FOLDER / "digits.onnx", TARGET)
    print(f"Running {len(test['labels'])} test digits on the emulator ...")
    result = firmware.run(test["images"])
    right = int((result.output.argmax(axis=1) == test["labels"]).sum())
    print(firmware.report(result))
    print(f"accuracy: {right} of {len(test['labels'])} digits right")


if __name__ == "__main__":
    main()
