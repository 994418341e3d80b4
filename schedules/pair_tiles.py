"""The inner loop of convolutions on pairs: a tile of up to four pixels x two output channels.

All of a tile's sums stay in registers: four pixels and two channels take eight, operands four, and
two pointers the rest. A pair of channels is a stream that is read front to back: two biases, the
words of both channels pair by pair, then the parameters of the scaling (see scaling.py). The first
multiply adds the bias instead of the sum, so that no sum has to be set before.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.scaling import Floored, Scaling
from tvm_tiny.schedules.tiled_conv import PIXELS

CHANNELS = 2
UNROLLED_PAIRS = 16  # more are a loop of so many

SUM_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")


def tile_microkernel(
    pairs: int,
    pixels: int,
    channels: int,
    step: int,
    scaling: Scaling,
    unroll: int = UNROLLED_PAIRS,
) -> MicroKernel:
    """`pixels` x `channels` outputs from expanded windows; pixels lie `step` bytes apart.

    More pairs than `unroll` are a loop.
    """
    plain = (
        f"tiny_pair_tile(words, stream, y, {pixels}, {pairs}, {channels}, {step}, "
        f"{scaling.shift}, {scaling.plain});",
    )
    return MicroKernel(
        f"tile_{pixels}px_{pairs}pairs{unrolled(unroll)}_{channels}of{step}ch_{scaling.name}",
        "const int32_t *words, const int32_t *stream, int8_t *y",
        f"{pixels} pixels x {channels} channels from {pairs} pairs each.",
        _Tile(pairs, pixels, channels, step, scaling, unroll).assembly(),
        plain,
    )


class _Tile:
    def __init__(
        self, pairs: int, pixels: int, channels: int, step: int, scaling: Scaling, unroll: int
    ) -> None:
        self.pairs, self.pixels, self.channels = pairs, pixels, channels
        self.step, self.scaling, self.unroll = step, scaling, unroll
        self.registers = Registers(
            words="r0",
            stream="r1",
            x0="r2",
            x1="r3",
            w0="r12",
            w1="lr",
            **dict(zip(self._sums(), SUM_REGISTERS, strict=False)),
            # behind the loop, where operands are dead
            y="r0",
            multiplier="r2",
            offset="r3",
            multiplier1="r12",
            offset1="lr",
            shift="r12",
            spare="lr",
        )

    def _sums(self) -> list[str]:
        return [_sum(p, c) for p in range(PIXELS) for c in range(CHANNELS)]

    def assembly(self) -> tuple[str, ...]:
        return self.registers.wrap(
            channel_loop(self.channels, CHANNELS, self._stream_bytes(), self._outputs)
        )

    def _outputs(self, channels: int) -> list[str]:
        is_pair = channels == CHANNELS
        what = "two channels: their biases, then all products" if is_pair else "the last channel"
        return [f"/* {what} */", *self._sums_of(channels), *self._finish(channels)]

    def _stream_bytes(self) -> int:
        return 4 * CHANNELS * (1 + self.pairs + len(self.scaling.columns))

    def _sums_of(self, channels: int) -> list[str]:
        """All products of a pair of channels, or of the first of one."""
        peeled = (self.pairs - 1) % self.unroll + 1
        last = _sum(self.pixels - 1, 0), _sum(self.pixels - 1, 1)
        lines = [f"ldrd {last[0]}, {last[1]}, [stream], #8"]
        for pair in range(peeled):
            lines += self._pair(channels, first=pair == 0)
        if self.pairs > peeled:
            lines += ["1:"]
            for _ in range(self.unroll):
                lines += self._pair(channels, first=False)
            lines += self._until_end(peeled)
        return lines

    def _until_end(self, peeled: int) -> list[str]:
        pair_bytes = 4 * self.pixels
        if self.pairs - peeled == self.unroll:
            return []
        return [
            "ldr x0, [sp, #4]",
            *add_constant("x0", "x0", self.pairs * pair_bytes),
            "cmp words, x0",
            "bne 1b",
        ]

    def _pair(self, channels: int, first: bool) -> list[str]:
        lines = ["ldrd w0, w1, [stream], #8"]
        for p in range(0, self.pixels, 2):
            is_two = p + 1 < self.pixels
            lines += ["ldrd x0, x1, [words], #8" if is_two else "ldr x0, [words], #4"]
            for i in range(2 if is_two else 1):
                for c in range(channels):
                    total = _sum(p + i, c)
                    start = _sum(self.pixels - 1, c) if first else total
                    lines += [f"smlad {total}, x{i}, w{c}, {start}"]
        return lines

    def _finish(self, channels: int) -> list[str]:
        """Scale, narrow and store; `y` moves on by the channels."""
        lines = ["/* scale, narrow, store */", "ldr y, [sp, #8]"]
        if isinstance(self.scaling, Floored):
            lines += ["ldmia stream!, {multiplier, offset, multiplier1, offset1}"]
        for c in range(channels):
            names = ["multiplier", "offset", "shift"][: len(self.scaling.columns)]
            if not isinstance(self.scaling, Floored):
                lines += [f"ldmia stream!, {{{', '.join(names)}}}"]
            for p in range(self.pixels):
                lines += self._scaled(p, c)
        # the first store moved y on already
        return [*lines, "str y, [sp, #8]"]

    def _scaled(self, pixel: int, channel: int) -> list[str]:
        total = _sum(pixel, channel)
        lines = self.scaling.assembly(total)
        if isinstance(self.scaling, Floored) and channel:
            lines = [line.replace("multiplier", "multiplier1") for line in lines]
            lines = [line.replace("offset", "offset1") for line in lines]
        if pixel == channel == 0:
            return [*lines, f"strb {total}, [y], #{CHANNELS}"]
        return [*lines, f"strb {total}, [y, #{pixel * self.step + channel - CHANNELS}]"]


def unrolled(pairs: int) -> str:
    """Part of the names of micro-kernels whose loops are of so many pairs."""
    return "" if pairs == UNROLLED_PAIRS else f"_by{pairs}"


def channel_loop(
    channels: int, tile: int, stream_bytes: int, outputs: Callable[[int], list[str]]
) -> list[str]:
    """A function's lines: `outputs` of a tile of channels, as a loop, and of those that are left.

    A tile reads `stream_bytes` of the stream. On the stack are the end of all whole tiles' stream,
    `words` and `y`; `words` is back at its begin with every tile.
    """
    whole, rest = divmod(channels, tile)
    body = [f"push {{r0, r2, {', '.join(SUM_REGISTERS)}, lr}}"]
    if whole > 1:
        body += [*constant("r3", whole * stream_bytes), "add r3, stream, r3"]
    body += ["push {r3}", *(["0:"] if whole > 1 else [])]
    if whole:
        body += outputs(tile)
    if whole > 1 or (whole and rest):
        body += ["ldr words, [sp, #4]"]
    if whole > 1:
        body += ["ldr x0, [sp]", "cmp stream, x0", "bne 0b"]
    if rest:
        body += outputs(rest)
    return [*body, "add sp, #12", f"pop {{{', '.join(SUM_REGISTERS)}, pc}}"]


def _sum(pixel: int, channel: int) -> str:
    return f"sum{pixel}{'ab'[channel]}"


def constant(register: str, value: int) -> list[str]:
    """Load a constant."""
    low = [f"movw {register}, #{value & 0xFFFF}"]
    return low + ([f"movt {register}, #{value >> 16}"] if value >> 16 else [])


def add_constant(target: str, source: str, value: int) -> list[str]:
    """An addition whose constant may exceed the 4095 that an instruction holds."""
    if value <= 4095:
        return [f"addw {target}, {source}, #{value}"]
    return [f"addw {target}, {source}, #{value & 0xFFF}", f"add {target}, #{value & ~0xFFF}"]
