"""The doubling high multiply of cores that have no product of 64 bits, on this machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from tvm.script import tirx as T

from tests.support import kernels
from tvm_tiny.schedules import numerics
from tvm_tiny.schedules.dialect import Kernel, TensorSpec

ENDS = [0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x3FFFFFFF, 1 << 30, 0x7FFF0000, 0x7FFFFFFF]
COUNT = 200_000


def product(n: int) -> Kernel:
    @T.prim_func(s_tir=True)
    def product(a: T.Buffer((n,), "int32"), b: T.Buffer((n,), "int32"), y: T.Buffer((n,), "int32")):
        for i in range(n):
            with T.sblock("product"):
                v = T.axis.spatial(n, i)
                y[v] = T.call_extern("int32", "tiny_high_mul_of_halves", a[v], b[v])

    return Kernel("product", product)


def test_products_of_halves(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ends = [*ENDS, *(-end for end in ENDS), -(1 << 31)]
    pairs = [pair for pair in itertools.product(ends, ends) if pair != (-(1 << 31),) * 2]
    free = COUNT - len(pairs)
    random = generator.integers(-(1 << 31), 1 << 31, (free, 2)) >> generator.integers(
        0, 24, (free, 2)
    )
    a, b = np.concatenate([np.array(pairs), random]).astype(np.int32).T
    job = kernels.Job(product(COUNT), TensorSpec((COUNT,), "int32"))
    library = kernels.build({"product": job}, tmp_path)
    (computed,) = library.run("product", [[np.ascontiguousarray(a), np.ascontiguousarray(b)]])
    np.testing.assert_array_equal(computed, numerics.high_mul(a, b))
