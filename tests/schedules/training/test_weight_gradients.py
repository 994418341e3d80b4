"""Gradients of weights: torch's autograd = differences of the convolution = meaning = C."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import kernels
from tests.support.gradients import ALL, Convolution, close, difference, torch_gradients
from tests.support.quick import names_that_run, quick_some

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> kernels.Library:
    jobs = {}
    for name in names_that_run(request, ALL):
        convolution = ALL[name]
        operator, attrs = convolution.operators[1], convolution.weight_attributes
        arguments = convolution.data, convolution.gradient
        kernel = operator.kernel(attrs, *arguments)
        jobs[name] = kernels.Job(kernel, operator.infer(attrs, *arguments))
    return kernels.build(jobs, tmp_path_factory.mktemp("kernels"))


@quick_some("name", ALL, 6)
def test_meaning_is_torch(name: str) -> None:
    convolution = ALL[name]
    sample = convolution.sample(0)
    close(_meaning(convolution, sample), torch_gradients(convolution, sample)[1])


@quick_some("name", ALL, 6)
def test_meaning_is_the_difference_of_losses(name: str) -> None:
    convolution = ALL[name]
    sample = convolution.sample(1)
    meaning = _meaning(convolution, sample)
    shape = convolution.weight.shape
    places = np.arange(int(np.prod(shape))).reshape(shape)
    if convolution.channels:
        places = places[..., list(convolution.channels)]
    chosen = np.random.default_rng(2).integers(0, meaning.size, 12)
    expected = [difference(convolution, sample, "weight", places.flat[c]) for c in chosen]
    np.testing.assert_allclose(meaning.flat[chosen], expected, rtol=1e-5, atol=1e-3)


@quick_some("name", ALL, 6)
def test_kernel_is_meaning(library: kernels.Library, name: str) -> None:
    convolution = ALL[name]
    samples = [convolution.sample(seed) for seed in SEEDS]
    results = library.run(name, [[sample["data"], sample["gradient"]] for sample in samples])
    for result, sample in zip(results, samples, strict=True):
        close(result, _meaning(convolution, sample))


def _meaning(convolution: Convolution, sample: dict[str, np.ndarray]) -> np.ndarray:
    operator, attrs = convolution.operators[1], convolution.weight_attributes
    result = operator.meaning(attrs, sample["data"], sample["gradient"])
    spec = operator.infer(attrs, convolution.data, convolution.gradient)
    assert (result.shape, str(result.dtype)) == (spec.shape, spec.dtype)
    return result
