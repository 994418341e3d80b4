"""Outputs over inputs: every kernel at the shifts that it declares, and none beyond them.

On this machine all variants run as plain C, input and output in one block of exactly their size
under the sanitisers. On the emulator many calls are one firmware, with canaries between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.schedules.random_calls import square_depthwise_call, wide_conv_call
from tests.schedules.suite import inferred, kernels, samples_of
from tests.support.aliasing import Placed, firmware_of, inputs_of, placed, shifts_of
from tests.support.calls import call_of
from tests.support.kernels import Job, Library, Over, build
from tests.support.random_operators import operator
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Overlap, TensorSpec, run_meaning
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes
from tvm_tiny.targets.target import resolve

SEEDS, WIDE_SEEDS = range(100), range(30)
IMAGE = TensorSpec((1, 4, 5, 7), "int8")
CORES = {"cortex-m3": range(50), "cortex-m4": range(50), "cortex-m55": range(50, 100)}


def moves() -> dict[str, Any]:
    """Operators that random ones leave out."""
    table = np.random.default_rng(0).integers(-128, 128, 256, np.int8)
    floats = TensorSpec((3, 7), "float32")
    tall = TensorSpec((1, 3, 5, 7), "int8")
    return {
        "lookup": call_of(LOOKUP, LookupAttributes("any"), IMAGE, table),
        "quantize": call_of(QUANTIZE, QuantizeAttributes(0.05, 3), floats),
        "quantize_one": call_of(QUANTIZE, QuantizeAttributes(0.05, 3), TensorSpec((1,), "float32")),
        "dequantize": call_of(DEQUANTIZE, DequantizeAttributes(0.05, 3), IMAGE),
        "resize": call_of(RESIZE, ResizeAttributes((2, 3)), IMAGE),
        "resize_pixels": call_of(
            RESIZE, ResizeAttributes((3, 1)), TensorSpec((2, 3, 2, 1), "int8")
        ),
        "transpose": call_of(TRANSPOSE, TransposeAttributes((0, 3, 1, 2)), IMAGE),
        "transpose_floats": call_of(TRANSPOSE, TransposeAttributes((1, 0)), floats),
        "concat_rows": call_of(CONCAT, ConcatAttributes(1), tall, IMAGE, tall),
        "concat_channels": call_of(CONCAT, ConcatAttributes(3), IMAGE, IMAGE),
        "pad_rows": call_of(PAD, PadAttributes((0, 2, 0, 0), (0, 1, 0, 0), -5), IMAGE),
        "pad": call_of(PAD, PadAttributes((0, 1, 2, 0), (0, 2, 1, 0), -5), IMAGE),
    }


CALLS = {f"operator_{seed}": operator(seed) for seed in SEEDS}
CALLS |= {f"wide_{seed}": wide_conv_call(seed) for seed in WIDE_SEEDS}
CALLS |= {f"depthwise_{seed}": square_depthwise_call(seed) for seed in WIDE_SEEDS}
CALLS |= moves()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Library:
    jobs = {
        f"{name}/{variant}": Job(kernel, inferred(call))
        for name, call in CALLS.items()
        for variant, kernel in kernels(call).items()
    }
    return build(jobs, tmp_path_factory.mktemp("overlaps"))


Case = tuple[str, Over]  # a kernel's name, and where its output lies


def wrong(library: Library, cases: Sequence[Case]) -> list[Case]:
    """Return the cases in which a kernel does not compute the meaning."""
    calls, expected = [], []
    for name, over in cases:
        call = CALLS[name.split("/")[0]]
        for sample in samples_of(inputs_of(call), seed=1)[:2]:
            calls.append((name, sample, over))
            expected.append(run_meaning(call, sample))
    results = zip(calls, library.run_all(calls), expected, strict=True)
    found = [(name, over) for (name, _, over), ours, right in results if (ours != right).any()]
    return list(dict.fromkeys(found))


def declared(library: Library) -> list[tuple[str, int, Overlap]]:
    """Return kernels, and the numbers of inputs that their outputs may lie over."""
    return [
        (name, number, overlap)
        for name, job in library.jobs.items()
        for number, overlap in enumerate(job.kernel.overlaps)
        if overlap is not None
    ]


def test_outputs_over_inputs_are_right(compiled: Library) -> None:
    cases = []
    for name, number, overlap in declared(compiled):
        data = inputs_of(CALLS[name.split("/")[0]])[number]
        shifts = shifts_of(overlap, data, compiled.jobs[name].output)
        cases += [(name, Over(number, shift)) for shift in shifts]
    assert len(cases) > 1000
    assert not wrong(compiled, cases)


def test_one_byte_more_is_wrong(compiled: Library) -> None:
    """Shifts are as large as can be: nearly all kernels need the byte that they would lose."""
    cases = [
        (name, Over(number, overlap.shift + 1))
        for name, number, overlap in declared(compiled)
        if not overlap.is_exact
        and overlap.shift < inputs_of(CALLS[name.split("/")[0]])[number].nbytes
        and compiled.jobs[name].output.dtype == "int8"
        and inputs_of(CALLS[name.split("/")[0]])[number].dtype == "int8"
    ]
    found = wrong(compiled, cases)
    print(len(cases), len(found), sorted({n for n, _ in cases} - {n for n, _ in found}))
    assert len(found) > 0.5 * len(cases)


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_with_outputs_over_inputs_is_right(core: str) -> None:
    features = resolve(core).core.features
    calls = [*(operator(seed) for seed in CORES[core]), *moves().values()]
    jobs = [job for call in calls for job in placed(call, inferred(call), features)]
    check_on(core, jobs)


def check_on(core: str, jobs: Sequence[Placed]) -> None:
    """Assert that one firmware computes the meanings of all jobs and leaves canaries alone."""
    firmware, canaries = firmware_of(jobs, core)
    samples = [samples_of(inputs_of(job.call), seed) for seed, job in enumerate(jobs)]
    stacked = [np.concatenate(port) for row in samples for port in zip(*row, strict=True)]
    kept = [np.random.default_rng(0).integers(-128, 128, 4 * size, np.int8) for size in canaries]
    outputs = firmware.run([*stacked, *kept]).outputs
    for job, row, output in zip(jobs, samples, outputs, strict=False):
        expected = np.stack([run_meaning(job.call, sample) for sample in row])
        title = f"{job.call.op.name} {job.candidate.variant} {job.over}"
        np.testing.assert_array_equal(output.reshape(expected.shape), expected, err_msg=title)
    for canary, output in zip(kept, outputs[len(jobs) :], strict=True):
        np.testing.assert_array_equal(output.reshape(-1), canary)
