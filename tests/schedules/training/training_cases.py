"""What the tests of training's operators share: calls with inputs, and how kernels are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tests.schedules.suite import inferred, kernels
from tests.support.aliasing import inputs_of, shifts_of
from tests.support.calls import call_of
from tests.support.kernels import Job, Library, Over, build
from tvm_tiny.schedules.dialect import (
    Array,
    Attributes,
    Operator,
    TensorSpec,
    run_meaning,
)

Inputs = Sequence[Array]


@dataclass(frozen=True)
class Case:
    """A call whose run-time arguments are the arrays of `samples`, at the places of None."""

    operator: Operator
    attributes: Attributes
    samples: Sequence[Inputs]
    constants: Sequence[Array | None] = ()

    @cached_property
    def call(self) -> Any:
        """The call in the dialect."""
        specs = [TensorSpec(array.shape, str(array.dtype)) for array in self.samples[0]]
        given = iter(specs)
        places = self.constants or [None] * len(specs)
        arguments = [next(given) if constant is None else constant for constant in places]
        return call_of(self.operator, self.attributes, *arguments)

    @cached_property
    def expected(self) -> list[Array]:
        """What the operator means."""
        return [run_meaning(self.call, sample) for sample in self.samples]


Make = Callable[[], Case]


def library_of(cases: Mapping[str, Case], folder: Path) -> Library:
    """Return all kernels of some cases."""
    jobs = {
        f"{name}/{variant}": Job(kernel, inferred(case.call))
        for name, case in cases.items()
        for variant, kernel in kernels(case.call).items()
    }
    return build(jobs, folder)


def check(library: Library, name: str, case: Case, tolerance: float = 0) -> None:
    """Assert that kernels compute what the case means, in place too; the same bits anywhere."""
    spec = inferred(case.call)
    assert {(e.shape, str(e.dtype)) for e in case.expected} == {(spec.shape, spec.dtype)}
    for variant in library.of(name):
        kernel, actual = library.jobs[variant].kernel, library.run(variant, case.samples)
        for ours, expected in zip(actual, case.expected, strict=True):
            compare(ours, expected, tolerance)
        for number, data in enumerate(inputs_of(case.call)):
            overlap = kernel.overlaps[number] if kernel.overlaps else None
            for shift in shifts_of(overlap, data, spec) if overlap else ():
                over = Over(number, shift)
                calls = [(variant, sample, over) for sample in case.samples]
                for ours, first in zip(library.run_all(calls), actual, strict=True):
                    assert same_bits(ours, first), f"{variant} over input {number} at {shift}"


def compare(ours: Array, expected: Array, tolerance: float) -> None:
    """Assert that arrays are equal, or so to the tolerance relative to the largest number."""
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    bound = tolerance * float(finite.max(initial=0)) * 1e-3
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=bound)


def same_bits(a: Array, b: Array) -> bool:
    """Whether arrays are equal to the bit; which NaN it is does not count."""
    is_nan = np.isnan(a) & np.isnan(b)
    first, second = (np.where(is_nan, 0, v).astype(v.dtype).tobytes() for v in (a, b))
    return first == second


def floats(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Array:
    """Return normal numbers."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def bytes_of(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return any int8."""
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def mask_of(count: int, seed: int = 0, share: float = 0.5) -> Array:
    """Return a mask of so many bits, set at random; what is left of its last byte too."""
    size = -(-count // 8)
    bits = np.random.default_rng(seed).random((size, 8)) < share
    return np.packbits(bits, axis=1, bitorder="little").reshape(-1)


EDGES = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 126.5),
        *(1e-38, 1e-42, -1e-45, 3e38, -3e38, np.inf, -np.inf, np.nan),
        *(2.0**31, -(2.0**31), 2.0**30 + 1),
    ],
    np.float32,
)


def edges(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return floats at which arithmetic is special."""
    return np.random.default_rng(seed).choice(EDGES, shape)


def rows(channels: int) -> Array:
    """Return multipliers and shifts to the right."""
    generator = np.random.default_rng(5)
    multipliers = generator.integers(1 << 30, (1 << 31) - 1, channels)
    return np.stack([multipliers, generator.integers(0, 12, channels)], axis=1).astype(np.int32)


# A tensor, and what meets it whole or each of its rows.
Pair = tuple[tuple[int, ...], tuple[int, ...]]
PAIRS: list[Pair] = [
    ((1, 3, 5, 7), (1, 3, 5, 7)),
    ((1, 3, 5, 7), (1, 1, 1, 7)),
    ((1, 2, 2, 16), (1, 1, 1, 16)),
    ((1, 3, 5, 2), (1, 1, 5, 2)),
    ((1, 3, 5, 7), (1, 1, 1, 1)),
    ((1, 4, 4, 1), (1, 1, 1, 1)),
    ((2, 33), (2, 33)),
    ((3, 8), (8,)),
    ((1,), (1,)),
]
