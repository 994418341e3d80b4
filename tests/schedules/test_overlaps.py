"""Outputs over inputs: every kernel at the shifts that it declares, and none beyond them.

On this machine all variants run as plain C, input and output in one block of exactly their size
under the sanitisers. On the emulator many calls are one firmware, with canaries between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.schedules.random_calls import square_depthwise_call, wide_conv_call
from tests.schedules.suite import inferred, kernels, samples_of
from tests.support.aliasing import ALIGNMENT, declared, shifts_of
from tests.support.calls import call_of
from tests.support.kernels import Job, Library, Over, build
from tests.support.random_operators import operator
from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Array, TensorSpec, run_meaning
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes

SEEDS, WIDE_SEEDS = range(100), range(30)
IMAGE = TensorSpec((1, 4, 5, 7), "int8")


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
        "resize_pixels": call_of(RESIZE, ResizeAttributes((3, 1)), TensorSpec((2, 3, 2, 1), "int8")),
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


def wrong(library: Library, job: str, over: Over) -> int:
    """Return in how many samples the kernel does not compute the meaning."""
    call = CALLS[job.split("/")[0]]
    samples = samples_of(declared(call).inputs, seed=1)[:2]
    results = library.run(job, samples, over)
    expected = [run_meaning(call, sample) for sample in samples]
    return sum(not np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def cases(library: Library) -> Iterator[tuple[str, int]]:
    """Return kernels and the numbers of inputs that the output may lie over."""
    for name, job in library.jobs.items():
        for number, overlap in enumerate(job.kernel.overlaps):
            if overlap is not None:
                yield name, number


def test_outputs_over_inputs_are_right(compiled: Library) -> None:
    for name, number in cases(compiled):
        call, kernel = CALLS[name.split("/")[0]], compiled.jobs[name].kernel
        data, overlap = declared(call).inputs[number], kernel.overlaps[number]
        for shift in shifts_of(overlap, data, inferred(call)):
            assert not wrong(compiled, name, Over(number, shift)), (name, number, shift)
