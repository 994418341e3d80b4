from __future__ import annotations

import numpy as np

from tvm_tiny.schedules import pooling


def test_reciprocals_divide_every_sum() -> None:
    reciprocals = pooling.reciprocals(pooling.LARGEST_COUNT).astype(np.int64)
    for count in range(1, pooling.LARGEST_COUNT + 1):
        total = np.arange(-128 * count, 127 * count + 1)
        expected = np.sign(total) * ((np.abs(total) + count // 2) // count)
        # with SMLAW: 16 of 30 bits are shifted out first; and with VQRDMULH of twice the number
        narrow = ((total * reciprocals[count] >> 16) + (1 << 13)) >> 14
        wide = (2 * total * 2 * reciprocals[count] + (1 << 31)) >> 32
        np.testing.assert_array_equal(narrow, expected)
        np.testing.assert_array_equal(wide, expected)
        assert 2 * reciprocals[count] < 1 << 31
