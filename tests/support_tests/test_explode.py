from dataclasses import replace

import numpy as np
import pytest

from tests.support import shared, tflm
from tests.support.explode import activation_inputs, explode, layer_inputs
from tests.support.tflite_writer import read, write

needs_tflm = pytest.mark.skipif(not tflm.have_tflm(), reason="tflite_micro is not installed")


def kws01() -> bytes:
    return shared.shared_path("models", "mlperf_tiny", "kws01_dscnn_int8.tflite").read_bytes()


def test_every_operator_stands_alone() -> None:
    exploded = read(explode(kws01()))
    assert len(exploded.operators) == 13
    assert len(set(exploded.inputs)) == len(set(exploded.outputs)) == 13
    assert not set(exploded.inputs) & set(exploded.outputs)


def test_an_addition_has_two_inputs() -> None:
    path = shared.shared_path("models", "mlperf_tiny", "ic01_resnet8_int8.tflite")
    content = path.read_bytes()
    operators = read(content).operators
    additions = [i for i, operator in enumerate(operators) if operator.builtin == "ADD"]
    exploded = read(explode(content, additions))
    assert len(exploded.inputs) == 2 * len(additions) == 6
    assert len(exploded.outputs) == 3


@needs_tflm
@pytest.mark.parametrize("name", ["kws", "ic"])
def test_layers_give_what_they_give_inside_the_model(name: str) -> None:
    content, images, expected = shared.reference_data(name)
    model = read(content)
    computed = [index for operator in model.operators for index in operator.outputs]
    samples = [[image[np.newaxis]] for image in images]
    inside = tflm.run(write(replace(model, outputs=tuple(computed))), samples)

    values = [
        dict(zip(computed, outputs, strict=True)) | {model.inputs[0]: sample[0]}
        for sample, outputs in zip(samples, inside, strict=True)
    ]
    order = [index for operator in model.operators for index in activation_inputs(model, operator)]
    alone = tflm.run(explode(content), [[value[index] for index in order] for value in values])

    np.testing.assert_equal(alone, inside)
    np.testing.assert_array_equal([outputs[-1][0] for outputs in alone], expected)


# its weights are int8 and its activations float32, which TFLite Micro does not know
HYBRID = "mlperf_tiny/kws01_dscnn_fp32.tflite"


@needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in shared.shared_models() if path != HYBRID])
def test_the_oracle_runs_every_exploded_model(path: str) -> None:
    exploded = explode(shared.shared_path("models", path).read_bytes())
    outputs = tflm.run(exploded, [layer_inputs(exploded, seed=1)])[0]
    assert len(outputs) == len(read(exploded).outputs)


@needs_tflm
def test_inputs_leave_convolutions_unsaturated() -> None:
    exploded = explode(kws01(), range(9))
    (outputs,) = tflm.run(exploded, [layer_inputs(exploded)])
    for output in outputs:
        assert len(np.unique(output)) > 60
        assert (output == 127).mean() < 0.1


@needs_tflm
def test_inputs_depend_on_the_seed_alone() -> None:
    exploded = explode(kws01(), [0, 1])
    first, again, other = (layer_inputs(exploded, seed) for seed in (1, 1, 2))
    np.testing.assert_equal(first, again)
    assert (first[0] != other[0]).any()
