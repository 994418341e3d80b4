"""Outputs over inputs as kernels declare it, and firmware in which they lie so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.schedules.dialect import Overlap, TensorSpec, spec_of

ALIGNMENT = 16


@dataclass(frozen=True)
class Declared:
    """A call's run-time inputs."""

    inputs: Sequence[TensorSpec]


def declared(call: Any) -> Declared:
    return Declared([spec_of(a) for a in call.args if isinstance(a, relax.Var)])


def shifts_of(overlap: Overlap, data: TensorSpec, output: TensorSpec) -> list[int]:
    """Return shifts to try: the largest, the largest that is aligned, and some before it."""
    if overlap.is_exact:
        return [overlap.shift]
    size = max(np.dtype(spec.dtype).itemsize for spec in (data, output))
    aligned = overlap.shift // ALIGNMENT * ALIGNMENT
    shifts = [overlap.shift // size * size, aligned, aligned - ALIGNMENT, aligned - 5 * ALIGNMENT]
    return [shift for shift in shifts if shift > -output.nbytes]
