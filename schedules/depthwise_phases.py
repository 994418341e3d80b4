"""Depthwise windows whose taps are not neighbours: columns sorted so that they are.

Output column o reads columns o * stride + k * dilation, all of one residue modulo the dilation.
With g the greatest common divisor of both, outputs dilation / g apart have the same residue; they
are a phase. A phase has a plane of its own with every dilation-th column from its first window's
begin on: there taps are neighbours, and windows begin stride / g columns apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm_tiny.schedules.planes import Plane


@dataclass(frozen=True)
class Phases:
    """Those of `outputs` columns."""

    outputs: int
    stride: int
    dilation: int

    @property
    def number(self) -> int:
        """How many there are; one where taps are neighbours already."""
        return min(self.dilation // math.gcd(self.stride, self.dilation), self.outputs)

    @property
    def step(self) -> int:
        """From window to window in a phase's plane."""
        return self.stride // math.gcd(self.stride, self.dilation)

    @property
    def widths(self) -> list[int]:
        """Outputs of each phase; the first phases may have one more than the last ones."""
        return [-(-(self.outputs - phase) // self.number) for phase in range(self.number)]

    def planes(self, whole: Plane) -> Iterator[Plane]:
        """What is gathered of a channel, `whole` if columns were not sorted; maybe nothing."""
        for phase in range(self.number):
            begin = phase * self.stride - whole.left
            outside = max(-(begin // self.dilation), 0)
            column = begin + outside * self.dilation
            inside = -(-(whole.width - column) // self.dilation)
            plane = replace(
                whole,
                left=outside,
                width=min(inside, 2 * whole.words - outside),
                step=self.dilation * whole.step,
                start=column * whole.step,
                place=phase * whole.rows * whole.words,
            )
            if plane.width > 0 and plane.height > 0:
                yield plane
