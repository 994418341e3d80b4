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
from tests.support.layers import Layer
from tests.support.random_operators import operator
from tvm_tiny.schedules import overlaps
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dequantize import DEQUANTIZE, DequantizeAttributes
from tvm_tiny.schedules.dialect import Array, Overlap, TensorSpec, run_meaning
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QPool2DAttributes
from tvm_tiny.schedules.qavg_pool2d import infer as infer_pool
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes
from tvm_tiny.schedules.transpose import TRANSPOSE, TransposeAttributes
from tvm_tiny.schedules.window import patches
from tvm_tiny.targets.target import resolve

pytestmark = pytest.mark.slow

SEEDS, WIDE_SEEDS = range(50), range(20)
IMAGE = TensorSpec((1, 4, 5, 7), "int8")
GROUPS = (
    *("conv3x3g4 16x16x32->32", "conv3x3g2 5x7x32->16", "conv3x3g2 6x6x32->64"),
    *("conv3x3s2g2 9x9x32->64", "conv5x5g4 8x8x64->16", "conv1x1s2g2 8x8x32->32"),
)
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
CALLS |= {name: Layer.parse(name).call() for name in GROUPS}
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


def is_overwritten(reads: Array, ends: Array, shift: int) -> bool:
    """Return whether a step reads a byte where one before it has written."""
    written = np.maximum.accumulate(ends)[:-1] + shift
    return bool(np.any((reads[1:] >= shift) & (reads[1:] < written)))


@pytest.mark.parametrize("seed", range(20))
def test_sweep_is_the_first_shift_that_works_with_all_before_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = int(generator.integers(2, 9))
    reads, ends = generator.integers(0, 60, steps), generator.integers(1, 40, steps)
    data, output = TensorSpec((60,), "int8"), TensorSpec((200,), "int8")
    broken = next(shift for shift in range(-200, 200) if is_overwritten(reads, ends, shift))
    assert overlaps.sweep(reads, ends, data, output) == Overlap(min(broken - 1, 60))


def test_sweep_of_one_step_may_lie_anywhere() -> None:
    data, output = TensorSpec((60,), "int8"), TensorSpec((7,), "int8")
    assert overlaps.sweep(np.array([0]), np.array([7]), data, output) == Overlap(60)


def test_sweep_that_saves_nothing_is_none() -> None:
    data, output = TensorSpec((4,), "int8"), TensorSpec((7,), "int8")
    assert overlaps.sweep(np.array([0, 0]), np.array([7, 7]), data, output) is None


@pytest.mark.parametrize("seed", range(10))
def test_first_bytes_of_windows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    kernel, strides, dilation = (
        (int(rows), int(columns)) for rows, columns in generator.integers(1, 4, (3, 2))
    )
    attrs = QPool2DAttributes(strides, (2, 1, 1, 3), dilation, kernel, -128, 127)
    data = TensorSpec((2, 13, 12, 3), "int8")
    output = infer_pool(attrs, data)
    pixels = np.arange(0, data.elements, 3).reshape(2, 13, 12, 1)
    windows = patches(pixels, kernel, attrs, overlaps.NEVER).min(axis=(3, 4, 5))
    found = overlaps.first_bytes(attrs, data, output, kernel)
    np.testing.assert_array_equal(found, windows.reshape(-1))


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (2, 6), (2, 8)])
def test_rectangles_cover_each_image(rows: int, columns: int) -> None:
    output = TensorSpec((2, 5, 13, 3), "int8")
    tiles = overlaps.in_rectangles(output, rows, overlaps.tile_of(13, columns, moves_back=True))
    assert tiles.shape[1] == rows * columns
    assert set(tiles.reshape(-1)) == set(range(2 * 5 * 13))


def test_channels_in_place() -> None:
    image = TensorSpec((2, 6, 6, 3), "int8")
    smaller, larger = TensorSpec((2, 3, 3, 3), "int8"), TensorSpec((2, 7, 7, 3), "int8")
    assert overlaps.by_channel(image, smaller) == Overlap(is_exact=True)
    assert overlaps.by_channel(image, larger) is None  # its first image ends in the second one
    assert overlaps.by_channel(image, TensorSpec((2, 6, 6, 6), "int8")) is None
    one = TensorSpec((1, 6, 6, 3), "int8"), TensorSpec((1, 7, 7, 3), "int8")
    assert overlaps.by_channel(*one) == Overlap(is_exact=True)


def test_outputs_over_inputs_are_right(compiled: Library) -> None:
    cases = []
    for name, number, overlap in declared(compiled):
        data = inputs_of(CALLS[name.split("/")[0]])[number]
        shifts = shifts_of(overlap, data, compiled.jobs[name].output)
        cases += [(name, Over(number, shift)) for shift in shifts]
    assert len(cases) > 500
    assert not wrong(compiled, cases)


def test_one_byte_more_is_wrong(compiled: Library) -> None:
    """Shifts are as large as can be: most kernels need the byte that they would lose."""
    cases = []
    for name, number, overlap in declared(compiled):
        data, output = inputs_of(CALLS[name.split("/")[0]])[number], compiled.jobs[name].output
        is_shifted = not overlap.is_exact and overlap.shift < data.nbytes
        if is_shifted and data.dtype == output.dtype == "int8":
            cases.append((name, Over(number, overlap.shift + 1)))
    assert len(wrong(compiled, cases)) > 0.7 * len(cases)


def test_channels_elsewhere_are_wrong(compiled: Library) -> None:
    """Outputs of a channel at a time have to lie exactly over their input."""
    cases = [
        (name, Over(number, -1))
        for name, number, overlap in declared(compiled)
        if overlap.is_exact and compiled.jobs[name].output.shape[3] > 1
    ]
    assert len(wrong(compiled, cases)) > 0.7 * len(cases)


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_with_outputs_over_inputs_is_right(core: str) -> None:
    features = resolve(core).core.features
    calls = [*(operator(seed) for seed in CORES[core]), *moves().values()]
    calls += [CALLS[name] for name in GROUPS]
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
