"""The doubling high multiply of cores that have no product of 64 bits, on this machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from tests.support.kernels import Request, ask, compile_functions
from tvm_tiny.schedules import numerics

ENDS = [0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x3FFFFFFF, 1 << 30, 0x7FFF0000, 0x7FFFFFFF]
COUNT = 200_000
SOURCE = f"""
static void call_0(void **arrays) {{
  const int32_t *a = arrays[0], *b = arrays[1];
  int32_t *y = arrays[2];
  for (int32_t i = 0; i < {COUNT}; ++i) {{
    y[i] = tiny_high_mul_of_halves(a[i], b[i]);
  }}
}}
"""


def test_products_of_halves(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ends = [*ENDS, *(-end for end in ENDS), -(1 << 31)]
    pairs = [pair for pair in itertools.product(ends, ends) if pair != (-(1 << 31),) * 2]
    size = (COUNT - len(pairs), 2)
    random = generator.integers(-(1 << 31), 1 << 31, size) >> generator.integers(0, 24, size)
    a, b = np.concatenate([np.array(pairs), random]).astype(np.int32).T.copy()
    program = compile_functions(SOURCE, 1, tmp_path)
    (answer,) = ask(program, [Request(0, [a, b], [np.zeros(COUNT, np.int32)])])
    np.testing.assert_array_equal(np.frombuffer(answer, np.int32), numerics.high_mul(a, b))
