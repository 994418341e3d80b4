"""The instructions of long_scaling.py, one by one, against the double rounding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.schedules.test_scaling import layer
from tvm_tiny.schedules import long_scaling, requantization, scaling
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.long_scaling import LongFloored, LongRounded, LongScaling


class Machine:
    """Registers of many lanes, as int64 that hold int32."""

    def __init__(self, **registers: Any) -> None:
        self.registers = registers
        self.carry: Any = 0

    def run(self, lines: list[str]) -> None:
        for line in lines:
            name, operands = line.split(" ", 1)
            target, *sources = re.split(r", (?!asr|lsl)", operands)
            getattr(self, name)(target, *sources)

    def value(self, operand: str) -> Any:
        """A register, shifted or not, or a constant."""
        if operand.startswith("#"):
            return int(operand[1:])
        register, *shift = operand.split(", ")
        value = self.registers[register]
        if shift:
            kind, bits = shift[0].split(" #")
            value = value >> int(bits) if kind == "asr" else value << int(bits)
        return wrapped(value)

    def add(self, target: str, a: str, b: str) -> None:
        self.registers[target] = wrapped(self.value(a) + self.value(b))

    def adds(self, target: str, a: str, b: str) -> None:
        one, other = self.value(a) & 0xFFFFFFFF, self.value(b) & 0xFFFFFFFF
        self.carry = (one + other) >> 32
        self.registers[target] = wrapped(one + other)

    def adc(self, target: str, a: str, b: str) -> None:
        self.registers[target] = wrapped(self.value(a) + self.value(b) + self.carry)

    def lsl(self, target: str, a: str, b: str) -> None:
        self.registers[target] = wrapped(self.value(a) << self.value(b))

    def asr(self, target: str, a: str, b: str) -> None:
        self.registers[target] = self.value(a) >> self.value(b)

    def smull(self, low: str, high: str, a: str, b: str) -> None:
        product = self.value(a) * self.value(b)
        self.registers |= {low: wrapped(product), high: product >> 32}

    def ssat(self, target: str, bits: str, value: str) -> None:
        assert bits == "#8"
        self.registers[target] = np.clip(self.value(value), -128, 127)


def wrapped(value: Any) -> Any:
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def outputs(chosen: scaling.Layer, form: LongScaling, sums: Array, channel: int) -> Any:
    """Return what a tile makes of a channel's sums."""
    last = form.scale if isinstance(form, LongFloored) else form.shifts
    machine = Machine(
        total=sums << chosen.attrs.fraction_bits if isinstance(form, LongFloored) else sums,
        bias=int(chosen.bias[channel]) << int(form.bias_scale[channel]),
        multiplier=int(form.multiplier[channel]),
        offset=int(form.offset[channel]),
        shift=int(last[channel]),
    )
    machine.run([*form.whole("total", "bias"), *form.assembly("total", "bias")])
    return machine.registers["total"]


@pytest.mark.parametrize(
    ("clamp_min", "fraction_bits", "kind"),
    [(None, 0, LongFloored), (-128, 0, LongRounded), (-128, 7, LongRounded)],
)
@pytest.mark.parametrize("seed", range(4))
def test_instructions_round_twice(
    seed: int, clamp_min: int | None, fraction_bits: int, kind: type
) -> None:
    chosen = layer(seed, clamp_min=clamp_min, fraction_bits=fraction_bits)
    form = long_scaling.choose(chosen)
    assert form is not None and type(form) is kind
    for channel in range(len(chosen.bias)):
        reach = int(np.abs(chosen.weight[channel].astype(int)).sum()) * 128
        sums = np.arange(-reach, reach + 1, max(reach // 50_000, 1))
        acc = (sums << fraction_bits) + int(chosen.bias[channel])
        one = slice(channel, channel + 1)
        expected = requantization.apply(
            acc[:, None], chosen.multiplier[one], -chosen.shift[one], chosen.attrs
        )[:, 0]
        actual = np.clip(
            outputs(chosen, form, sums, channel), chosen.attrs.clamp_min, chosen.attrs.clamp_max
        )
        np.testing.assert_array_equal(actual, expected)
