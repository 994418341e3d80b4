import numpy as np
import pytest

from tests.support import shared
from tests.support.quick import quick_first
from tests.support.tflite_writer import BUFFER_ALIGNMENT, Model, Operator, Tensor, read, write

SCALE = (0.5,)


def small_model(operator: Operator) -> Model:
    weights = np.array([[1, -127]], np.int8)
    tensors = (
        Tensor("in", (1, 2), "int8", SCALE, -3),
        Tensor("weights", (1, 2), "int8", SCALE, data=weights),
        Tensor("out", (1, 1), "int8", SCALE, 7),
    )
    return Model(tensors, (operator,), (0,), (2,))


DENSE = Operator("FULLY_CONNECTED", (0, 1, -1), (2,), {"fused_activation_function": "RELU"})


@quick_first("path", shared.shared_models())
def test_a_real_model_survives_the_round_trip(path: str) -> None:
    model = read(shared.shared_path("models", path).read_bytes())
    again = read(write(model))
    assert again.operators == model.operators
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    for ours, theirs in zip(again.tensors, model.tensors, strict=True):
        assert_same_tensor(ours, theirs)


def assert_same_tensor(ours: Tensor, theirs: Tensor) -> None:
    np.testing.assert_equal(vars(ours), vars(theirs))


def test_what_is_written_is_read() -> None:
    model = read(write(small_model(DENSE)))
    assert model.operators[0].inputs == (0, 1, -1)
    assert model.operators[0].options["fused_activation_function"] == "RELU"
    assert model.operators[0].options["keep_num_dims"] is False
    for ours, theirs in zip(model.tensors, small_model(DENSE).tensors, strict=True):
        assert_same_tensor(ours, theirs)


def test_writing_is_deterministic() -> None:
    assert write(small_model(DENSE)) == write(small_model(DENSE))


def test_constants_are_aligned() -> None:
    content = write(small_model(DENSE))
    assert content.index(bytes([1, 129])) % BUFFER_ALIGNMENT == 0
    assert len(content) % BUFFER_ALIGNMENT == 0


def test_vectors_in_options() -> None:
    operator = Operator("RESHAPE", (0,), (2,), {"new_shape": (2, -1)})
    assert read(write(small_model(operator))).operators == (operator,)


def test_an_unknown_option_is_an_error() -> None:
    operator = Operator("TANH", (0,), (2,), {"beta": 1.0})
    with pytest.raises(ValueError, match=r"TANH has no option \['beta'\]"):
        write(small_model(operator))
