from pathlib import Path

import numpy as np
import pytest

from tests.support import shared


def test_an_absent_input_skips_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TINY_SHARED", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"shared input models/none\.tflite not found"):
        shared.shared_path("models", "none.tflite")
    assert shared.shared_models() == []


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_TINY_SHARED", str(tmp_path))
    (tmp_path / "models" / "x").mkdir(parents=True)
    (tmp_path / "models" / "x" / "y.tflite").touch()
    assert shared.shared_models() == ["x/y.tflite"]
    assert shared.shared_path("models", "x", "y.tflite").is_file()


def test_keywords() -> None:
    features, labels = shared.kws01_data()
    assert features.shape == (1000, 49, 10, 1)
    assert features.dtype == np.int8
    assert labels.shape == (1000,)
    assert labels.dtype == np.int32


@pytest.mark.parametrize("name", shared.REFERENCE_MODELS)
def test_reference_data(name: str) -> None:
    _, inputs, outputs = shared.reference_data(name)
    assert len(inputs) == len(outputs) == 4
    assert inputs.dtype == outputs.dtype == np.int8
