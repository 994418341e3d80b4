"""The inner loop of convolutions and dense layers on cores whose only wide multiply is SMLAL.

Two numbers share a word, a + b 2^23: SMLAL with a third adds both products to a sum of 64 bits. Its
low field is the sum for a as long as that stays below 2^22, whatever it borrows from the high one;
three instructions take them apart. Where neighbouring pixels share words, a tile is two words of
pixels x two channels, and weights are bytes. In layers of one pixel channels share words, of four
bytes for two weights (`Shape.WORDS`), or weights are bytes for MLA (`Shape.BYTES`).

A tile's stream is read front to back: weights tap by tap, channels side by side, filled up to a
word, then bias, multiplier, offset and shift of each channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tvm_tiny.schedules.long_scaling import LongScaling
from tvm_tiny.schedules.long_windows import FIELD_BITS
from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.pair_tiles import SUM_REGISTERS, add_constant, constant

LARGEST_SUM = 1 << 22  # of the low field
UNROLLED = 112  # instructions of a loop, about
PARAMETERS = 4  # words of a channel


class Shape(Enum):
    """How weights lie in the stream."""

    PIXELS = "bytes, for tiles of several pixels"
    BYTES = "bytes, for one pixel"
    WORDS = "a word for two channels, for one pixel"

    @property
    def channels(self) -> int:
        """Of a whole tile."""
        return 2 if self is Shape.PIXELS else 8

    def weight_bytes(self, taps: int, channels: int) -> int:
        """Of a tile, before its parameters."""
        if self is Shape.WORDS:
            return 4 * taps * -(-channels // 2)
        return -(-taps * channels // 4) * 4


@dataclass(frozen=True)
class Job:
    """What a micro-kernel computes: `pixels` x `channels` outputs of `taps` products each.

    Pixels lie `step` bytes apart.
    """

    shape: Shape
    pixels: int
    taps: int
    channels: int
    step: int
    scaling: LongScaling

    @property
    def couples(self) -> int:
        """Words that hold a tap of all pixels."""
        return -(-self.pixels // 2)

    @property
    def has_words(self) -> bool:
        """Whether couples of channels share words."""
        return self.shape is Shape.WORDS


def tile_microkernel(job: Job) -> MicroKernel:
    """The function that multiplies a tile."""
    j, kind = job, job.shape.name.lower()
    plain = (
        f"tiny_long_{'words' if j.has_words else 'bytes'}(words, stream, y, {j.pixels}, {j.taps}, "
        f"{j.shape.channels}, {j.channels}, {j.step},",
        f"    {j.scaling.plain_scale});",
    )
    return MicroKernel(
        f"long_{kind}_{j.pixels}px_{j.taps}taps_{j.channels}of{j.step}ch_{j.scaling.name}",
        "const int32_t *words, const int32_t *stream, int8_t *y",
        f"{j.pixels} pixels x {j.channels} channels from {j.taps} taps each.",
        _Tile(job).assembly(),
        plain,
        needs_dsp=False,
    )


class _Tile:
    registers = Registers(
        words="r0",
        stream="r1",
        x0="r2",
        x1="r3",
        w0="r12",
        w1="lr",
        **{f"sum{i}": register for i, register in enumerate(SUM_REGISTERS)},
        # behind the loop, where operands are dead
        y="r0",
        multiplier="r2",
        free="r3",
        offset="r12",
        shift="lr",
    )

    def __init__(self, job: Job) -> None:
        self.job = job
        per_tap = 17 if job.shape is Shape.BYTES else 7
        self.unrolled = UNROLLED // per_tap

    def assembly(self) -> tuple[str, ...]:
        job = self.job
        whole, rest = divmod(job.channels, job.shape.channels)
        # on the stack: the end of the whole tiles, words, y
        body = [f"push {{r0, r2, {', '.join(SUM_REGISTERS)}, lr}}"]
        if whole > 1:
            body += [*constant("r3", whole * self._stream_bytes()), "add r3, stream, r3"]
        body += ["push {r3}", *(["0:"] if whole > 1 else [])]
        if whole:
            body += [f"/* {job.shape.channels} channels */", *self._outputs(job.shape.channels)]
        if whole > 1 or (whole and rest):
            body += ["ldr words, [sp, #4]"]
        if whole > 1:
            body += ["ldr x0, [sp]", "cmp stream, x0", "bne 0b"]
        if rest:
            body += ["/* the last channels */", *self._outputs(rest)]
        body += ["add sp, #12", f"pop {{{', '.join(SUM_REGISTERS)}, pc}}"]
        return self.registers.wrap(body)

    def _stream_bytes(self) -> int:
        channels = self.job.shape.channels
        return self.job.shape.weight_bytes(self.job.taps, channels) + 4 * PARAMETERS * channels

    def _outputs(self, channels: int) -> list[str]:
        taps = self.job.taps
        peeled = (taps - 1) % self.unrolled + 1
        lines = [line for tap in range(peeled) for line in self._products(channels, tap == 0)]
        if taps > peeled:
            lines += ["1:", *self._products(channels, False) * self.unrolled]
        if taps - peeled > self.unrolled:
            lines += ["ldr x0, [sp, #4]"]
            lines += add_constant("x0", "x0", 4 * taps * self.job.couples)
            lines += ["cmp words, x0", "bne 1b"]
        if not self.job.has_words and taps * channels % 4:
            lines += [f"add stream, #{-taps * channels % 4}"]
        return lines + self._finish(channels)

    def _products(self, channels: int, is_first: bool) -> list[str]:
        """A tap of all pixels and channels of a tile."""
        if self.job.pixels > 1:
            return self._pixels(channels, is_first)
        return (self._words if self.job.has_words else self._bytes)(channels, is_first)

    def _pixels(self, channels: int, is_first: bool) -> list[str]:
        couples = self.job.couples
        lines = ["ldrd x0, x1, [words], #8" if couples == 2 else "ldr x0, [words], #4"]
        lines += [f"ldrsb w{c}, [stream], #1" for c in range(channels)]
        for c in range(channels):
            for q in range(couples):
                lines += [_long_product(c * couples + q, f"x{q}", f"w{c}", is_first)]
        return lines

    def _words(self, channels: int, is_first: bool) -> list[str]:
        lines, couples = ["ldr x0, [words], #4"], -(-channels // 2)
        for first in range(0, couples, 2):
            is_two = first + 1 < couples
            lines += ["ldrd w0, w1, [stream], #8" if is_two else "ldr w0, [stream], #4"]
            for i in range(1 + is_two):
                lines += [_long_product(first + i, "x0", f"w{i}", is_first)]
        return lines

    def _bytes(self, channels: int, is_first: bool) -> list[str]:
        lines = ["ldr x0, [words], #4"]
        for first in range(0, channels, 2):
            pair = range(first, min(first + 2, channels))
            lines += [f"ldrsb w{c - first}, [stream], #1" for c in pair]
            for c in pair:
                product = f"sum{c}, x0, w{c - first}"
                lines += [f"mul {product}" if is_first else f"mla {product}, sum{c}"]
        return lines

    def _finish(self, channels: int) -> list[str]:
        """Take sums apart; scale, narrow and store; `y` moves on by the channels."""
        lines, sums, free = self._sums(channels)
        lines += ["/* scale, narrow, store */", "ldr y, [sp, #8]"]
        for c in range(channels):
            lines += [f"ldr {free}, [stream], #4", "ldmia stream!, {multiplier, offset, shift}"]
            totals = [sums[c, p] for p in range(self.job.pixels)]
            for total in totals:
                lines += self.job.scaling.whole(total, free)
            for p, total in enumerate(totals):
                lines += self.job.scaling.assembly(total, free)
                lines += [f"strb {total}, [y, #{p * self.job.step + c}]"]
        return [*lines, *add_constant("y", "y", channels), "str y, [sp, #8]"]

    def _sums(self, channels: int) -> tuple[list[str], dict[tuple[int, int], str], str]:
        """Where the sum of (channel, pixel) is, and a register that is none of them."""
        job = self.job
        if job.pixels == 1 and not job.has_words:
            return [], {(c, 0): f"sum{c}" for c in range(channels)}, "free"
        lines, sums, free = [], {}, "free"
        for number, (one, other) in enumerate(self._fields(channels)):
            low, high = f"sum{2 * number}", f"sum{2 * number + 1}"
            if other is None:
                sums[one] = low
                continue
            lines += [
                f"sbfx {free}, {low}, #0, #{FIELD_BITS}",
                f"lsrs {low}, {low}, #{FIELD_BITS}",  # the carry is what the field has borrowed
                f"adc {high}, {low}, {high}, lsl #{32 - FIELD_BITS}",
            ]
            sums[one], sums[other], free = free, high, low
        return lines, sums, free

    def _fields(self, channels: int) -> list[tuple[tuple[int, int], tuple[int, int] | None]]:
        """(channel, pixel) of both fields of each 64-bit sum."""
        if self.job.has_words:
            couples = range(0, channels, 2)
            return [((c, 0), (c + 1, 0) if c + 1 < channels else None) for c in couples]
        pixels = self.job.pixels
        return [
            ((c, p), (c, p + 1) if p + 1 < pixels else None)
            for c in range(channels)
            for p in range(0, pixels, 2)
        ]


def _long_product(number: int, x: str, w: str, is_first: bool) -> str:
    return f"{'smull' if is_first else 'smlal'} sum{2 * number}, sum{2 * number + 1}, {x}, {w}"
