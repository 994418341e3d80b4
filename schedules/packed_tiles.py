"""The inner loop of convolutions and dense layers on packed channels: weights take a byte each.

A 16-bit lane of a weight word holds two channels, 256 a + b, so that one SMLAD of the word gives
full = 256 A + B and one of its SXTB16 gives B: A = (full - B) >> 8 exactly, while |A| < 2^23.
A tile is four pixels x two channels, or, for layers of one pixel, one pixel x eight channels. Its
stream is read front to back: words pair by pair, then bias, multiplier, offset and shift of each
channel.
Biases are doubled, as are the sums when they are added.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.pair_tiles import (
    SUM_REGISTERS,
    UNROLLED_PAIRS,
    add_constant,
    channel_loop,
    unrolled,
)
from tvm_tiny.schedules.scaling import Rounded

PARAMETERS = 4  # words of a channel
LARGEST_SUM = 1 << 23  # of a channel, for its sum to be taken out of a lane


@dataclass(frozen=True)
class Shape:
    """A tile: `pixels` x 2 `couples` channels; a couple shares its weight words."""

    pixels: int
    couples: int

    @property
    def channels(self) -> int:
        """Of a tile."""
        return 2 * self.couples


def tile_microkernel(
    pairs: int,
    shape: Shape,
    channels: int,
    step: int,
    scaling: Rounded,
    unroll: int = UNROLLED_PAIRS,
) -> MicroKernel:
    """`shape.pixels` x `channels` outputs from expanded windows; pixels lie `step` bytes apart.

    More pairs than `unroll`, which is even, are a loop.
    """
    size = f"{shape.pixels}px_{pairs}pairs{unrolled(unroll)}_{channels}of{step}ch"
    plain = (
        f"tiny_packed_tile(words, stream, y, {shape.pixels}, {pairs}, {shape.channels}, "
        f"{channels}, {step},",
        f"    {int(scaling.scale[0])}, {scaling.plain});",
    )
    return MicroKernel(
        f"packed_{size}_{scaling.name}",
        "const int32_t *words, const int32_t *stream, int8_t *y",
        f"{shape.pixels} pixels x {channels} channels, packed in couples, from {pairs} pairs each.",
        _Tile(pairs, shape, channels, step, scaling, unroll).assembly(),
        plain,
    )


class _Tile:
    def __init__(
        self, pairs: int, shape: Shape, channels: int, step: int, scaling: Rounded, unroll: int
    ) -> None:
        self.pairs, self.shape, self.channels = pairs, shape, channels
        self.step, self.scaling, self.unroll = step, scaling, unroll
        sums = [_sum(p, c) for p in range(shape.pixels) for c in range(shape.channels)]
        self.registers = Registers(
            words="r0",
            stream="r1",
            x0="r2",
            x1="r3",
            w0="r12",
            w1="lr",
            **dict(zip(sums, SUM_REGISTERS, strict=False)),
            y="r0",
            # behind the loop, where operands are dead; `bias` is spare once it is added
            bias="r2",
            multiplier="r3",
            offset="r12",
            shift="lr",
            spare="r2",
        )

    def assembly(self) -> tuple[str, ...]:
        return self.registers.wrap(
            channel_loop(self.channels, self.shape.channels, self._stream_bytes(), self._outputs)
        )

    def _stream_bytes(self) -> int:
        return 4 * (self.pairs * self.shape.couples + PARAMETERS * self.shape.channels)

    def _outputs(self, channels: int) -> list[str]:
        is_whole, couples = channels == self.shape.channels, -(-channels // 2)
        # a pixel's pairs go two by two, an odd one last
        last = self.pairs % 2 if self.shape.pixels == 1 else 0
        pairs = self.pairs - last
        peeled = (pairs - 1) % self.unroll + 1 if pairs else 0
        lines = [f"/* {channels} channels */" if is_whole else "/* the last channels */"]
        lines += self._products(couples, peeled, is_first=True)
        if pairs > peeled:
            lines += ["1:", *self._products(couples, self.unroll)]
        if pairs - peeled > self.unroll:
            lines += ["ldr x0, [sp, #4]"]
            lines += add_constant("x0", "x0", 4 * pairs * self.shape.pixels)
            lines += ["cmp words, x0", "bne 1b"]
        lines += self._products(couples, last, is_first=not pairs)
        return lines + self._finish(channels)

    def _products(self, couples: int, pairs: int, *, is_first: bool = False) -> list[str]:
        single = self.shape.pixels == 1
        step = 2 if single else 1
        lines: list[str] = []
        for pair in range(0, pairs, step):
            if single:
                lines += self._one_pixel(couples, min(step, pairs - pair), is_first and pair == 0)
            else:
                lines += self._pixels(is_first and pair == 0)
        return lines

    def _pixels(self, is_first: bool) -> list[str]:
        """A pair of elements of all pixels; the sums of four pixels leave room for one word."""
        lines = ["ldr w0, [stream], #4", "sxtb16 w1, w0"]
        for p in range(0, self.shape.pixels, 2):
            is_two = p + 1 < self.shape.pixels
            lines += ["ldrd x0, x1, [words], #8" if is_two else "ldr x0, [words], #4"]
            for i in range(1 + is_two):
                for c in range(2):
                    lines += [_product(_sum(p + i, c), f"x{i}", f"w{c}", is_first)]
        return lines

    def _one_pixel(self, couples: int, pairs: int, is_first: bool) -> list[str]:
        """Two pairs of elements at a time: their words of a couple lie side by side."""
        lines = ["ldrd x0, x1, [words], #8" if pairs == 2 else "ldr x0, [words], #4"]
        for couple in range(couples):
            full, low = _sum(0, 2 * couple), _sum(0, 2 * couple + 1)
            lines += ["ldrd w0, w1, [stream], #8" if pairs == 2 else "ldr w0, [stream], #4"]
            lines += [_product(full, "x0", "w0", is_first)]
            lines += ["smlad " + f"{full}, x1, w1, {full}"] if pairs == 2 else []
            lines += [f"sxtb16 w{i}, w{i}" for i in range(pairs)]
            lines += [_product(low, "x0", "w0", is_first)]
            lines += ["smlad " + f"{low}, x1, w1, {low}"] if pairs == 2 else []
        return lines

    def _finish(self, channels: int) -> list[str]:
        """Scale, narrow and store; `y` moves on by the channels."""
        lines = ["/* scale, narrow, store */", "ldr y, [sp, #8]"]
        for c in range(channels):
            lines += ["ldmia stream!, {bias, multiplier, offset, shift}"]
            totals = [_sum(p, c) for p in range(self.shape.pixels)]
            for p, total in enumerate(totals):
                lines += self._whole(total, p, c)
            for p, total in enumerate(totals):
                lines += self.scaling.assembly(total)
                lines += [f"strb {total}, [y, #{p * self.step + c}]"]
        return [*lines, *add_constant("y", "y", channels), "str y, [sp, #8]"]

    def _whole(self, total: str, pixel: int, channel: int) -> list[str]:
        """A channel's sum in the bias's units, doubled, with the bias."""
        doubling = int(self.scaling.scale[0])
        if channel % 2:
            return [f"add {total}, bias, {total}, lsl #{doubling}"]
        shifted = f", asr #{8 - doubling}" if doubling < 8 else ""
        low = _sum(pixel, channel + 1)
        return [f"sub {total}, {total}, {low}", f"add {total}, bias, {total}{shifted}"]


def _product(total: str, x: str, w: str, is_first: bool) -> str:
    return f"smuad {total}, {x}, {w}" if is_first else f"smlad {total}, {x}, {w}, {total}"


def _sum(pixel: int, channel: int) -> str:
    return f"sum{pixel}{'abcdefgh'[channel]}"
