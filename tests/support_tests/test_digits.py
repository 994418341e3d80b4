"""The committed example network keeps what its README says."""

import numpy as np
import pytest

from tests.support.shared import REPOSITORY

onnxruntime = pytest.importorskip("onnxruntime")

FOLDER = REPOSITORY / "examples" / "digits"


def test_the_int8_network_reads_nearly_all_digits() -> None:
    session = onnxruntime.InferenceSession(str(FOLDER / "digits.onnx"))
    with np.load(FOLDER / "digits_test.npz") as data:
        images, labels = data["images"], data["labels"]
    assert (images.shape, images.dtype) == ((360, 1, 8, 8), np.float32)
    guesses = [session.run(None, {"image": image[np.newaxis]})[0].argmax() for image in images]
    # kernels differ between processors, hence not exactly 357
    assert (np.array(guesses) == labels).sum() >= 355


def test_the_file_is_small() -> None:
    assert (FOLDER / "digits.onnx").stat().st_size < 20_000
