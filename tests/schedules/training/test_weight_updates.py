"""Steps of descent: the kernel's gradient, then `descend`; in place, or into other memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.schedules.training import test_float_conv2d as floats
from tests.schedules.training.training_cases import library_of, same_bits
from tests.support import kernels
from tests.support.gradients import ALL, Convolution
from tests.support.quick import names_that_run, quick_some
from tvm_tiny.schedules.dialect import Argument, Kernel, TensorSpec
from tvm_tiny.schedules.training.gradient_windows import LARGEST_WEIGHT
from tvm_tiny.schedules.training.sgd_update import SGD_UPDATE, SgdUpdateAttributes

Array = np.ndarray[Any, Any]
Sample = dict[str, Array]

RATE = TensorSpec((1,), "float32")
NAMES = ("weight", "data", "gradient", "rate", "scale")
SEEDS = (0, 1, 2)


def _kernel(convolution: Convolution, scale: Argument) -> Kernel:
    arguments = convolution.weight, convolution.data, convolution.gradient, RATE, scale
    kernel: Kernel = convolution.operators[2].kernel(convolution.weight_attributes, *arguments)
    return kernel


@pytest.fixture(scope="module")
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> kernels.Library:
    jobs = {}
    for name in names_that_run(request, ALL):
        convolution = ALL[name]
        attrs, weight = convolution.weight_attributes, convolution.weight
        fixed = convolution.sample(0)["scale"]
        jobs[f"{name}/update"] = kernels.Job(_kernel(convolution, convolution.scale), weight)
        jobs[f"{name}/constant"] = kernels.Job(_kernel(convolution, fixed), weight)
        operator = convolution.operators[1]
        inputs = convolution.data, convolution.gradient
        gradient = kernels.Job(operator.kernel(attrs, *inputs), operator.infer(attrs, *inputs))
        jobs[f"{name}/gradient"] = gradient
    return kernels.build(jobs, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def float_library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> kernels.Library:
    names = names_that_run(request, floats.ALL)
    parts = [f"{name}, {part}" for name in names for part in ("weight", "update")]
    folder = tmp_path_factory.mktemp("kernels")
    return library_of({part: floats.CASES[part] for part in parts}, folder)


def _expected(convolution: Convolution, sample: Sample, slope: Array) -> Array:
    """Return what tiny.sgd_update makes of the kernel's own gradient."""
    axis = 2 if convolution.multiplier else 0
    attrs = SgdUpdateAttributes(axis, convolution.channels, LARGEST_WEIGHT)
    weight, rate, scale = sample["weight"], sample["rate"], sample["scale"]
    return SGD_UPDATE.meaning(attrs, weight, slope, rate, scale)


def _check(library: kernels.Library, name: str, sample: Sample) -> Array:
    convolution = ALL[name]
    inputs = [sample[key] for key in NAMES]
    (slope,) = library.run(f"{name}/gradient", [inputs[1:3]])
    expected = _expected(convolution, sample, slope)
    over = kernels.Over(0, 0)
    update = f"{name}/update"
    for result in library.run_all([(update, inputs, None), (update, inputs, over)]):
        np.testing.assert_array_equal(result, expected)
    return expected


@quick_some("name", ALL, 6)
def test_update_is_gradient_and_descent(library: kernels.Library, name: str) -> None:
    for seed in SEEDS:
        sample = ALL[name].sample(seed)
        updated = _check(library, name, sample)
        assert updated.size == 1 or np.any(updated != sample["weight"])


@quick_some("name", ALL, 6)
def test_meaning_is_near(library: kernels.Library, name: str) -> None:
    convolution, sample = ALL[name], ALL[name].sample(0)
    inputs = [sample[key] for key in NAMES]
    meaning = convolution.operators[2].meaning(convolution.weight_attributes, *inputs)
    (result,) = library.run(f"{name}/constant", [inputs[:4]])
    assert meaning.dtype == result.dtype == np.int8
    # sums in another order may fall to the other side of a half
    difference = np.abs(meaning.astype(np.int32) - result)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", ["pointwise, chosen channels", "depthwise 3x3"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_stay_where_the_gradient_is_not_finite(
    library: kernels.Library, name: str, value: float
) -> None:
    sample = ALL[name].sample(0)
    sample["gradient"][0, 0, 0, 1] = value
    sample["gradient"][0, 1, 1, 1] = value
    _check(library, name, sample)


@pytest.mark.parametrize("name", ["3x3"])
@pytest.mark.parametrize("rate", [0.0, np.inf, np.nan, 1e30])
def test_rates_at_the_ends(library: kernels.Library, name: str, rate: float) -> None:
    sample = ALL[name].sample(0)
    sample["rate"][:] = rate
    updated = _check(library, name, sample)
    if rate == 0:
        np.testing.assert_array_equal(updated, np.maximum(sample["weight"], -LARGEST_WEIGHT))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one of all"])
def test_halves_go_to_even_numbers(library: kernels.Library, name: str) -> None:
    convolution = ALL[name]
    for weight in range(-127, 128):
        sample = convolution.sample(0)
        sample["weight"][:] = weight
        sample["data"][:] = convolution.zero_point + 1
        sample["gradient"][:], sample["rate"][:], sample["scale"][:] = 0.5, 1, 1
        updated = _check(library, name, sample)
        assert int(updated.flat[0]) == max(round(weight - 0.5), -LARGEST_WEIGHT)


@quick_some("name", floats.ALL, 7)
@pytest.mark.parametrize("value", [1.0, np.inf, np.nan])
def test_floats_descend_by_their_gradient(
    float_library: kernels.Library, name: str, value: float
) -> None:
    convolution = floats.ALL[name]
    sample = floats.sample(convolution, 1)
    sample["gradient"].flat[0] = value
    inputs = [sample[key] for key in NAMES]
    (slope,) = float_library.run(f"{name}, weight/portable", [inputs[1:3]])
    attrs = SgdUpdateAttributes(0, convolution.channels, LARGEST_WEIGHT)
    expected = SGD_UPDATE.meaning(attrs, inputs[0], slope, *inputs[3:])
    update = f"{name}, update/portable"
    over = kernels.Over(0, 0)
    for result in float_library.run_all([(update, inputs, None), (update, inputs, over)]):
        assert same_bits(result, expected)
    assert np.isfinite(expected).all()
    assert value != 1 or np.any(expected != sample["weight"])
