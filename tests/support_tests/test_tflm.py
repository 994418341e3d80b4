import numpy as np
import pytest

from tests.support import one_operator, shared, tflm
from tests.support.tflite_writer import write

pytestmark = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")


@pytest.mark.parametrize("name", shared.REFERENCE_MODELS)
def test_oracle_gives_the_reference_outputs(name: str) -> None:
    model, inputs, expected = shared.reference_data(name)
    outputs = tflm.run(model, [[sample[np.newaxis]] for sample in inputs])
    np.testing.assert_array_equal(np.concatenate([output for (output,) in outputs]), expected)


@pytest.mark.slow
def test_oracle_scores_901_of_1000_keywords() -> None:
    features, labels = shared.kws01_data()
    model = shared.shared_path("models", "mlperf_tiny", "kws01_dscnn_int8.tflite").read_bytes()
    outputs = tflm.run(model, [[sample[np.newaxis]] for sample in features])
    classes = [output.argmax() for (output,) in outputs]
    assert (np.array(classes) == labels).sum() == 901


def test_a_file_that_is_no_model_is_an_error() -> None:
    with pytest.raises(tflm.OracleError, match="ended with status"):
        tflm.run(bytes(64), [])


def test_a_small_arena_is_an_error() -> None:
    model = write(one_operator.conv2d((1, 8, 8, 3), 4))
    with pytest.raises(tflm.OracleError, match="Failed to allocate"):
        tflm.run(model, [], arena_bytes=256)


def test_a_missing_input_is_an_error() -> None:
    model = write(one_operator.binary("ADD", (1, 4), (1, 4)))
    with pytest.raises(tflm.OracleError, match="the model has 2 inputs, the sample 1"):
        tflm.run(model, [[np.zeros((1, 4), np.int8)]])


def test_an_input_of_another_type_is_an_error() -> None:
    model = write(one_operator.softmax((1, 4)))
    with pytest.raises(tflm.OracleError, match="expected type INT8"):
        tflm.run(model, [[np.zeros((1, 4), np.float32)]])


def test_the_oracle_recovers_from_a_crash() -> None:
    model = write(one_operator.softmax((1, 4)))
    sample = [np.zeros((1, 4), np.int8)]
    before = tflm.run(model, [sample])
    with pytest.raises(tflm.OracleError):
        tflm.run(bytes(64), [])
    np.testing.assert_equal(tflm.run(model, [sample]), before)
