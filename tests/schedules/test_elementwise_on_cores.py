"""Operators other than convolutions at sizes that fill vectors: firmware equals meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.schedules.suite import call_of, samples_of
from tests.schedules.test_quantize import EDGES
from tests.support.calls import side_by_side
from tvm_tiny.build_firmware import build
from tvm_tiny.schedules import dialect, qadd, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count
from tvm_tiny.schedules.quantize import QUANTIZE, QuantizeAttributes
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes

CORES = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
Scales = tuple[float, float, float]
# scales and zero points of (a, b, output): usual ones, saturating ones, powers of two
SUMS: list[tuple[Scales, tuple[int, int, int]]] = [
    ((0.043, 0.061, 0.077), (-4, 17, 3)),
    ((0.05, 0.05, 0.02), (-128, 127, -128)),
    ((0.5, 0.25, 0.5), (3, -9, 0)),
]
PRODUCTS: list[tuple[Scales, tuple[int, int, int]]] = [
    ((0.043, 0.0039, 0.031), (-4, -128, 3)),
    ((0.05, 0.02, 0.001), (5, 9, -7)),
]
POOLS = [
    # (height, width, channels), window, strides, padding
    ((8, 8, 64), (8, 8), (1, 1), (0, 0, 0, 0)),
    ((16, 15, 20), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((9, 7, 12), (3, 3), (2, 1), (1, 1, 1, 1)),
    ((15, 17, 4), (15, 17), (1, 1), (0, 0, 0, 0)),
]


def _pool(operator: Any, image: Any, window: Any, strides: Any, padding: Any) -> Any:
    attrs = QPool2DAttributes(strides, padding, (1, 1), window, -128, 127)
    return call_of(operator, attrs, TensorSpec((2, *image), "int8"))


def _moves() -> list[Any]:
    """Return moves of blocks whose sizes are no whole words, and of some that are."""
    calls = []
    for channels in (1, 3, 7, 16):
        image = TensorSpec((1, 4, 5, channels), "int8")
        border = PadAttributes((0, 1, 2, 0), (0, 2, 1, 0), -5)
        calls += [call_of(PAD, border, image), call_of(RESIZE, ResizeAttributes((2, 3)), image)]
        wide = TensorSpec((1, 4, 5, channels + 2), "int8")
        calls.append(call_of(CONCAT, ConcatAttributes(3), image, wide, image))
    return calls


def _calls() -> list[Any]:
    generator = np.random.default_rng(0)
    spec, vector = TensorSpec((3, 7, 43), "int8"), TensorSpec((3, 1, 43), "int8")
    table = generator.integers(-128, 128, 256, np.int8)
    calls = [call_of(LOOKUP, LookupAttributes("random"), spec, table)]
    for scales, points in SUMS:
        for sign in (1, -1):
            attrs = qadd.attributes(scales, points, sign)
            calls += [call_of(qadd.QADD, attrs, spec, b) for b in (spec, vector)]
    for scales, points in PRODUCTS:
        calls += [call_of(qmul.QMUL, qmul.attributes(scales, points), spec, vector)]
    calls += [_pool(operator, *pool) for pool in POOLS for operator in (QAVG_POOL2D, QMAX_POOL2D)]
    mean = QMeanAttributes((1, 2), 0, -7, 11, *fold_count(0.9, 125))
    calls.append(call_of(QMEAN, mean, TensorSpec((2, 25, 5, 12), "int8")))
    for scale in (0.0078431377, 1.0, 0.5):
        attrs_of = QuantizeAttributes(float(np.float32(scale)), -3)
        calls.append(call_of(QUANTIZE, attrs_of, TensorSpec((301,), "float32")))
    return calls + _moves()


def _with_edges(samples: list[Any]) -> list[Any]:
    for sample in samples:
        if sample.dtype == np.float32:
            sample[: len(EDGES)] = list(EDGES)
            halves = (np.arange(280) - 139.5).astype(np.float32)
            sample[-280:] = halves * np.float32(0.0078431377)
    return samples


@pytest.mark.qemu
@pytest.mark.parametrize("core", CORES)
def test_firmware_equals_meaning(core: str) -> None:
    calls = _calls()
    module, specs = side_by_side(calls)
    firmware = build(module, core, name="many")
    for sample in samples_of([spec for row in specs for spec in row])[:2]:
        inputs = iter(_with_edges(sample))
        result = firmware.run(sample)
        for number, (call, row) in enumerate(zip(calls, specs, strict=True)):
            expected = dialect.run_meaning(call, [next(inputs) for _ in row])
            actual = result.outputs[number]
            np.testing.assert_array_equal(actual, expected, f"{core} {number} {call.op.name}")
