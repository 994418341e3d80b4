"""Forward operators of training: kernel in C = meaning in numpy, which is tiny.q* unclamped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import inferred
from tests.schedules.training import forward
from tests.support.aliasing import inputs_of, shifts_of
from tests.support.calls import call_of
from tests.support.kernels import Job, Library, Over, build
from tests.support.quick import names_that_run, quick_some
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import dialect
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.qadd import QADD
from tvm_tiny.schedules.qconv2d import QCONV2D
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D
from tvm_tiny.schedules.qmul import QMUL
from tvm_tiny.schedules.training.truncate import TRUNCATE, ClampAttributes
from tvm_tiny.schedules.training.wide import MOST_TAPS
from tvm_tiny.schedules.training.wide_conv2d import WIDE_CONV2D

CALLS = forward.every_call()
NARROW = {"conv2d": QCONV2D, "depthwise_conv2d": QDEPTHWISE_CONV2D, "add": QADD, "mul": QMUL}


def kernel_of(call: Any) -> dialect.Kernel:
    plain = dialect.call_of(call)
    return plain.operator.kernel(plain.attributes, *plain.arguments)


@cache
def job(name: str) -> Job:
    return Job(kernel_of(CALLS[name]), inferred(CALLS[name]))


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    jobs = {name: job(name) for name in names_that_run(request, CALLS)}
    return build(jobs, tmp_path_factory.mktemp("kernels"))


@quick_some("name", CALLS, 15)
def test_kernel_is_meaning(name: str, compiled: Library) -> None:
    call = CALLS[name]
    samples = forward.samples(inputs_of(call), seed=1)
    spec = inferred(call)
    for actual, sample in zip(compiled.run(name, samples), samples, strict=True):
        expected = dialect.run_meaning(call, sample)
        assert (expected.shape, str(expected.dtype)) == (spec.shape, spec.dtype)
        np.testing.assert_array_equal(actual, expected)


@quick_some("name", [name for name in CALLS if "state False" in name], 8)
def test_truncated_is_the_narrow_operator(name: str) -> None:
    plain = dialect.call_of(CALLS[name])
    _, kind = plain.operator.name.split("wide_")
    constants = [a for a in plain.arguments if not isinstance(a, TensorSpec)]
    (sample, *_) = forward.samples(plain.inputs, seed=2)
    wide = plain.operator.meaning(plain.attributes, *sample, *constants)
    truncated = TRUNCATE.meaning(ClampAttributes(-128, 127), wide)
    narrow = NARROW[kind].meaning(plain.attributes, *sample, *constants)
    np.testing.assert_array_equal(truncated, narrow)


def test_windows_of_too_many_taps_are_refused() -> None:
    attrs = dialect.attributes_of(forward.convolution("pointwise", 0, is_state=True))
    data = TensorSpec((1, 1, 1, MOST_TAPS + 1), "int8")
    weight = np.zeros((1, 1, 1, MOST_TAPS + 1), np.int8)
    ones = np.ones(1, np.int32)
    call = call_of(WIDE_CONV2D, attrs, data, weight, ones, ones, ones)
    with pytest.raises(UnsupportedError, match="a window of too many taps to train"):
        kernel_of(call)


def test_reaches_name_each_run_time_tensor() -> None:
    for name in ("convolution 3x3", "depthwise 3x3 stride 1, 4x4x8"):
        for is_state in (True, False):
            plain = dialect.call_of(CALLS[f"{name}, state {is_state}"])
            assert plain.reaches is not None
            assert len(plain.reaches) == len(plain.inputs)


@pytest.mark.slow
def test_kernels_write_over_inputs_as_they_say(tmp_path: Path) -> None:
    library = build({name: job(name) for name in CALLS}, tmp_path)
    tried = 0
    for name, one in library.jobs.items():
        specs = inputs_of(CALLS[name])
        sample = forward.samples(specs, seed=3)[0]
        expected = dialect.run_meaning(CALLS[name], sample)
        for number, overlap in enumerate(one.kernel.overlaps):
            if overlap is None:
                continue
            overs = [Over(number, shift) for shift in shifts_of(overlap, specs[number], one.output)]
            for actual in library.run_all([(name, sample, over) for over in overs]):
                np.testing.assert_array_equal(actual, expected, name)
            tried += len(overs)
    assert tried > 0
