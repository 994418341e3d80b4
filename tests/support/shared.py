"""Where tests find the shared models and data, which live outside the project's tree.

The folder is `$TVM_TINY_SHARED`, or else `shared` beside the checkout.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]

REPOSITORY = Path(__file__).resolve().parents[2]

# name of a model in the reference data -> its file
REFERENCE_MODELS = {
    "kws": "kws01_dscnn_int8.tflite",
    "vww": "vww01_mbv1_int8.tflite",
    "ic": "ic01_resnet8_int8.tflite",
    "ad": "ad01_int8.tflite",
}


def shared_folder() -> Path:
    """Return the folder of shared inputs, whether or not it exists."""
    return Path(os.environ.get("TVM_TINY_SHARED") or REPOSITORY.parent / "shared")


def shared_path(*parts: str) -> Path:
    """Return a file or folder of the shared inputs; skip the test where it is absent."""
    path = shared_folder().joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared input {'/'.join(parts)} not found (see TVM_TINY_SHARED)")
    return path


def shared_models() -> list[str]:
    """Return the TFLite models present, as paths below the shared `models` folder."""
    models = shared_folder() / "models"
    return sorted(path.relative_to(models).as_posix() for path in models.rglob("*.tflite"))


def kws01_data() -> tuple[Array, Array]:
    """Return 1000 keyword features (int8, 1000x49x10x1) and their labels (int32, 1000).

    In the file: `features` and `labels`. TFLite Micro's int8 kws01 gets 901 of them right.
    """
    with np.load(shared_path("data", "kws01", "kws01.npz")) as data:
        return data["features"], data["labels"]


def reference_data(name: str) -> tuple[bytes, Array, Array]:
    """Return an MLPerf Tiny model, four inputs and TFLite Micro's outputs for them.

    `name` is a key of REFERENCE_MODELS. In the file: `<name>_input` and `<name>_output`, int8,
    the first axis counts the samples: kws 49x10x1 -> 12, vww 96x96x3 -> 2, ic 32x32x3 -> 10,
    ad 640 -> 640.
    """
    model = shared_path("models", "mlperf_tiny", REFERENCE_MODELS[name]).read_bytes()
    with np.load(shared_path("data", "reference", "mlperf_tiny_tflm.npz")) as data:
        return model, data[f"{name}_input"], data[f"{name}_output"]
