"""Gradients of inputs: torch's autograd = differences of the convolution = meaning = C."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import kernels
from tests.support.gradients import ALL, Convolution, close, difference, torch_gradients
from tests.support.quick import names_that_run, quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules.dialect import Argument, TensorSpec
from tvm_tiny.schedules.training.depthwise_input_gradient import tile

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> kernels.Library:
    jobs = {}
    for name in names_that_run(request, ALL):
        convolution = ALL[name]
        for is_state in (True, False):
            weight: Argument = convolution.weight
            if not is_state:
                weight = convolution.sample(0)["weight"]
            operator, attrs = convolution.operators[0], convolution.input_attributes
            arguments = convolution.gradient, weight
            kernel = operator.kernel(attrs, *arguments)
            output = operator.infer(attrs, *arguments)
            jobs[f"{name}/{is_state}"] = kernels.Job(kernel, output)
    return kernels.build(jobs, tmp_path_factory.mktemp("kernels"))


@quick_some("name", ALL, 6)
def test_meaning_is_torch(name: str) -> None:
    convolution = ALL[name]
    sample = convolution.sample(0)
    close(_meaning(convolution, sample), torch_gradients(convolution, sample)[0])


@quick_some("name", ALL, 6)
def test_meaning_is_the_difference_of_losses(name: str) -> None:
    convolution = ALL[name]
    sample = convolution.sample(1)
    meaning = _meaning(convolution, sample)
    places = np.random.default_rng(2).integers(0, meaning.size, 12)
    expected = [difference(convolution, sample, "data", place) for place in places]
    np.testing.assert_allclose(meaning.flat[places], expected, rtol=1e-5, atol=1e-3)


@quick_some("name", ALL, 6)
def test_kernel_is_meaning(library: kernels.Library, name: str) -> None:
    convolution = ALL[name]
    samples = [convolution.sample(seed) for seed in SEEDS]
    inputs = [[sample["gradient"], sample["weight"]] for sample in samples]
    results = library.run(f"{name}/True", inputs)
    for result, sample in zip(results, samples, strict=True):
        close(result, _meaning(convolution, sample))
    (frozen,) = library.run(f"{name}/False", [inputs[0][:1]])
    np.testing.assert_array_equal(frozen, results[0])


IN_PLACE = [
    "depthwise 3x3",
    "depthwise 5x5, odd",
    "depthwise, dilated",
    "depthwise, window larger than the image",
    "depthwise, wide",
    "depthwise 1x1",
]


@quick_some("name", ALL, 6)
def test_result_over_the_gradient(library: kernels.Library, name: str) -> None:
    overlap = library.jobs[f"{name}/True"].kernel.overlaps
    assert any(overlap) == (name in IN_PLACE)
    sample = ALL[name].sample(0)
    inputs = [sample["gradient"], sample["weight"]]
    over = kernels.Over(0, 0) if any(overlap) else None
    calls = [(f"{name}/True", inputs, place) for place in (None, over)]
    apart, result = library.run_all(calls)
    np.testing.assert_array_equal(result, apart)


def test_large_gradients_are_copied_in_smaller_tiles_or_not_at_all() -> None:
    tiles = {(8, 96): (16, 64), (16, 96): (8, 256), (64, 96): (8, 4096), (16, 16): (16, 0)}
    for (size, channels), expected in tiles.items():
        image = TensorSpec((1, size, size, channels), "float32")
        assert tile(image, image, 25) == expected
    larger = TensorSpec((1, 8, 8, 96), "float32")
    assert tile(TensorSpec((1, 4, 4, 96), "float32"), larger, 25) == (16, 0)


@pytest.mark.parametrize("name", ["3x3"])
def test_a_gradient_that_is_no_number_reaches_the_inputs_it_belongs_to(
    library: kernels.Library, name: str
) -> None:
    convolution = ALL[name]
    sample = convolution.sample(0)
    sample["weight"][sample["weight"] == 0] = 1
    sample["gradient"][0, 0, 0, 0] = np.nan
    (result,) = library.run(f"{name}/True", [[sample["gradient"], sample["weight"]]])
    expected = np.zeros(result.shape, bool)
    expected[0, :2, :2] = True
    np.testing.assert_array_equal(np.isnan(result), expected)


def test_batches_are_refused() -> None:
    convolution = ALL["pointwise"]
    two = TensorSpec((2, *convolution.gradient.shape[1:]), "float32")
    with pytest.raises(UnsupportedError, match="more than one image"):
        convolution.operators[0].infer(convolution.input_attributes, two, convolution.weight)


def _meaning(convolution: Convolution, sample: dict[str, np.ndarray]) -> np.ndarray:
    operator, attrs = convolution.operators[0], convolution.input_attributes
    result = operator.meaning(attrs, sample["gradient"], sample["weight"])
    spec = operator.infer(attrs, convolution.gradient, convolution.weight)
    assert (result.shape, str(result.dtype)) == (spec.shape, spec.dtype)
    return result
