"""The forms of scaling.py on cores without SMMLA: SMULL, and the high word of what it gives.

A register more is needed, for the high word. SMULL has no rounding; ADDS of the low word to itself
carries its highest bit, which ADC adds. The sign of a product is that of its accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tvm_tiny.schedules import scaling
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.scaling import Floored, Layer, Rounded


@dataclass(frozen=True)
class LongFloored(Floored):
    """As Floored; sums are shifted behind the loop, by a parameter of each channel."""

    @property
    def columns(self) -> tuple[Array, ...]:
        """Parameters of a channel beside its bias."""
        return (self.multiplier, self.offset, self.scale)

    def whole(self, total: str, bias: str) -> list[str]:
        """A sum in the bias's units, with the bias."""
        return [f"lsl {total}, {total}, shift", f"add {total}, {total}, {bias}"]

    def assembly(self, total: str, spare: str = "spare") -> list[str]:
        """`total` to int8; `spare` is written."""
        return [
            f"smull {total}, {spare}, {total}, multiplier",
            f"add {spare}, {spare}, offset",
            f"ssat {total}, #8, {spare}, asr #{self.shift}",
        ]

    @property
    def plain_scale(self) -> str:
        """How the C twin scales: bits before the bias (the parameter's), shift, function."""
        return f"0, {self.shift}, {self.plain}"


@dataclass(frozen=True)
class LongRounded(Rounded):
    """As Rounded; a shift is always a parameter."""

    @property
    def name(self) -> str:
        """Part of the names of micro-kernels."""
        return f"long_{super().name}"

    def whole(self, total: str, bias: str) -> list[str]:
        """As above."""
        return [f"add {total}, {bias}, {total}, lsl #{int(self.scale[0])}"]

    def assembly(self, total: str, spare: str = "spare") -> list[str]:
        """As above, with the shift in `shift` unless all share it."""
        lines = [f"smull {total}, {spare}, {total}, multiplier"]
        if self.has_sign:
            lines += [f"add {spare}, {spare}, {spare}, asr #31"]
        lines += [f"adds {total}, {total}, {total}", f"adc {spare}, {spare}, offset"]
        if self.shift:
            return [*lines, f"ssat {total}, #8, {spare}, asr #{self.shift}"]
        return [*lines, f"asr {spare}, {spare}, shift", f"ssat {total}, #8, {spare}"]

    @property
    def plain_scale(self) -> str:
        """As above."""
        return f"{int(self.scale[0])}, 0, {self.plain}"


LongScaling = LongFloored | LongRounded


def choose(layer: Layer) -> LongScaling | None:
    """The cheapest form that is exact for a layer of bytes, or None."""
    # scales do not go into the weights, which therefore set no limit
    form = scaling.choose(replace(layer, weight=np.zeros((len(layer.bias), 0), np.int8)))
    return LongFloored(**vars(form)) if isinstance(form, Floored) else as_long(form)


def as_long(form: Rounded | None) -> LongRounded | None:
    """The same form on these cores."""
    return None if form is None else LongRounded(**vars(form))
