"""Products and outputs of Winograd's tiles: up to four of them x two output channels.

A column of four positions is summed in the order 1, 2, 0, 3 of its rows. The sums m1 and m2 become
m1 + m2, on which the products of row 0 are added, and m1 - m2, on which those of row 3 are: the two
outputs of a column take no addition of their own. They wait on the stack: for the same along the
other axis of F(2x2, 3x3), until all four columns are there. F(2, 3) has one column, whose positions
are those of a row. Sums wrap around freely on the way: outputs fit a word, and that is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.pair_tiles import UNROLLED_PAIRS, unrolled
from tvm_tiny.schedules.planes import add
from tvm_tiny.schedules.scaling import Scaling
from tvm_tiny.schedules.winograd_strips import SIZE, Strip, Transform

CHANNELS = 2
SUM_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
SPARE = ("x0", "x1", "w0", "w1")  # operands, dead between positions


@dataclass(frozen=True)
class Outputs:
    """Where sums go: `channels` of a pixel, rows of pixels `pitch` bytes apart.

    Before they are scaled sums are shifted by `lift`: to the right if it is negative, to the left
    to meet their bias if it is positive.
    """

    channels: int
    pitch: int
    scaling: Scaling
    lift: int

    @property
    def couples(self) -> int:
        """Two channels each; of an odd number, the last but one is computed twice."""
        return -(-self.channels // CHANNELS)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Registers that hold what a channel's outputs need, in their order in memory."""
        names = ("multiplier", "offset", "shift")[: len(self.scaling.columns)]
        return (*names, "bias") if self.lift > 0 else names

    def assembly(self, total: str) -> list[str]:
        """A sum to int8."""
        moved = {
            -1: f"asr {total}, {total}, #{-self.lift}",
            1: f"add {total}, bias, {total}, lsl #{self.lift}",
        }
        sign = (self.lift > 0) - (self.lift < 0)
        return [*([moved[sign]] if sign else []), *self.scaling.assembly(total)]

    @property
    def name(self) -> str:
        """Part of the names of micro-kernels."""
        moved = f"_lifted{self.lift}" if self.lift > 0 else "_halved" * -self.lift
        return f"{self.channels}ch_by{self.pitch}_{self.scaling.name}{moved}"


def tiles_microkernel(
    transform: Transform,
    pairs: int,
    strip: Strip,
    outputs: Outputs,
    unroll: int = UNROLLED_PAIRS,
) -> MicroKernel:
    """Outputs of a strip from `pairs` pairs of input channels, of all taps of lines.

    More pairs than `unroll` are a loop.
    """
    o = outputs
    plain = (
        f"tiny_winograd_tiles(words, stream, y, {strip.tiles}, {strip.overlap}, "
        f"{transform.columns}, {pairs}, {o.channels},",
        f"    {o.pitch}, {o.lift}, {o.scaling.shift}, {o.scaling.plain});",
    )
    size = f"{transform.heights} x 2 outputs of {strip.tiles} tiles x {o.channels} channels"
    return MicroKernel(
        f"winograd_{transform.name}_{strip.name}_{pairs}pairs{unrolled(unroll)}_{o.name}",
        "const int32_t *words, const int32_t *stream, int8_t *y",
        f"{size} from {pairs} pairs each.",
        _Tiles(transform, pairs, strip, outputs, unroll).assembly(),
        plain,
    )


class _Tiles:
    def __init__(
        self, transform: Transform, pairs: int, strip: Strip, outputs: Outputs, unroll: int
    ) -> None:
        self.unroll = unroll
        self.transform, self.pairs, self.strip, self.out = transform, pairs, strip, outputs
        self.tiles = strip.tiles
        self.sums = [_sum(t, c) for c in range(CHANNELS) for t in range(self.tiles)]
        self.frame = _Frame(len(self.sums), transform.columns)
        waiting = [f"column{j}_{t}" for j in range(SIZE) for t in range(2)]
        self.registers = Registers(
            words="r0",
            stream="r1",
            x0="r2",
            x1="r3",
            w0="r12",
            w1="lr",
            **dict(zip(self.sums, SUM_REGISTERS, strict=False)),
            # when all columns are summed
            y="r0",
            multiplier="r2",
            offset="r3",
            shift="r12",
            spare="lr",
            bias="lr",  # beside forms that need no spare register
            **dict(zip(waiting, SUM_REGISTERS, strict=True)),
        )

    def assembly(self) -> tuple[str, ...]:
        frame, stream_bytes = self.frame, self._stream_bytes()
        is_square = self.transform.columns > 1
        body = [
            "push {r4-r11, lr}",
            f"sub sp, #{frame.size}",
            f"strd r0, r2, [sp, #{frame.words}]",
            "mov r3, stream",
            *add("r3", stream_bytes * self.out.couples),
            f"str r3, [sp, #{frame.stream_end}]",
            "0:",
            f"add x0, sp, #{frame.columns}",
            f"str x0, [sp, #{frame.column}]",
            "1:",
            *self._column(),
            *([f"add x1, sp, #{frame.size}", "cmp x0, x1", "bne 1b"] if is_square else []),
            *self._outputs(),
            f"ldr x0, [sp, #{frame.stream_end}]",
            f"ldr words, [sp, #{frame.words}]",
            "cmp stream, x0",
            "bne 0b",
            f"add sp, #{frame.size}",
            "pop {r4-r11, pc}",
        ]
        return self.registers.wrap(body)

    def _stream_bytes(self) -> int:
        words = self.transform.columns * (1 + SIZE * self.pairs) + len(self.out.parameters)
        return 4 * CHANNELS * words

    # a column

    def _column(self) -> list[str]:
        frame, sums = self.frame, f"{{{', '.join(self.sums)}}}"
        return [
            *self._position("initial"),
            f"stmia sp, {sums}",
            *self._position("zero"),
            *self._sums_and_differences(),
            *self._position("continued"),
            f"ldr x0, [sp, #{frame.column}]",
            f"stmia x0!, {sums}",
            f"str x0, [sp, #{frame.column}]",
            f"ldmia sp, {sums}",
            *self._position("continued"),
            f"ldr x0, [sp, #{frame.column}]",
            f"stmia x0!, {sums}",
            f"str x0, [sp, #{frame.column}]",
        ]

    def _position(self, start: str) -> list[str]:
        """Products of all pairs; sums start as the stream says, at zero, or where they are."""
        step = 4 * SIZE * self.transform.columns * self.tiles
        straight = self.pairs if self.pairs <= self.unroll else self.pairs % self.unroll
        lines = self._start(start, is_apart=straight == 0)
        for pair in range(straight):
            lines += self._pair(step, start if pair == 0 else "continued")
        looped = self.pairs - straight
        body = [line for _ in range(self.unroll) for line in self._pair(step, "continued")]
        if looped == self.unroll:
            lines += body
        elif looped:
            end = f"[sp, #{self.frame.end}]"
            lines += ["mov x0, words", *add("x0", looped * step), f"str x0, {end}", "2:", *body]
            lines += [f"ldr x0, {end}", "cmp words, x0", "bne 2b"]
        return lines + add("words", 4 * self.tiles - self.pairs * step)

    def _start(self, start: str, is_apart: bool) -> list[str]:
        lines = []
        last = min(self.tiles, 2) - 1  # the tile that the first pair comes to last
        if start == "initial":
            lines += [f"ldrd {_sum(last, 0)}, {_sum(last, 1)}, [stream], #8"]
            others = [t for t in range(self.tiles) if t != last] if is_apart else []
            lines += [f"mov {_sum(t, c)}, {_sum(last, c)}" for t in others for c in range(CHANNELS)]
        elif start == "zero" and is_apart:
            lines += [f"mov {total}, #0" for total in self.sums]
        return lines

    def _pair(self, step: int, start: str) -> list[str]:
        lines = ["ldrd w0, w1, [stream], #8"]
        last = min(self.tiles, 2) - 1
        for tile in (2, 0) if self.tiles > 2 else (0,):
            count = min(2, self.tiles - tile)
            at = "[words, #8]" if tile else f"[words], #{step}"
            lines += [f"ldrd x0, x1, {at}" if count == 2 else f"ldr x0, {at}"]
            for i in range(count):
                for c in range(CHANNELS):
                    total = _sum(tile + i, c)
                    before = _sum(last, c) if start == "initial" else total
                    if start == "zero":
                        lines += [f"smuad {total}, x{i}, w{c}"]
                    else:
                        lines += [f"smlad {total}, x{i}, w{c}, {before}"]
        return lines

    def _sums_and_differences(self) -> list[str]:
        """m1 lies at the stack's top, m2 in the sums: m1 - m2 goes there, m1 + m2 stays."""
        lines, at = [], 0
        while at < len(self.sums):
            four = at == 0 and len(self.sums) >= len(SPARE)
            names = SPARE if four else SPARE[:2]
            load, store = ("ldmia", "stmia") if four else ("ldrd", "strd")
            place = f"sp, {{{', '.join(names)}}}" if four else f"x0, x1, [sp, #{4 * at}]"
            lines += [f"{load} {place}"]
            for total, name in zip(self.sums[at:], names, strict=False):
                lines += [f"add {total}, {total}, {name}", f"rsb {name}, {total}, {name}, lsl #1"]
            lines += [f"{store} {place}"]
            at += len(names)
        return lines

    # outputs

    def _outputs(self) -> list[str]:
        lines = []
        for channel in range(CHANNELS):
            lines += [f"ldr y, [sp, #{self.frame.y}]"]
            lines += [f"ldmia stream!, {{{', '.join(self.out.parameters)}}}"]
            for row in range(self.transform.heights):
                lines += add("y", self.out.pitch) if row else []
                for tile in range(0, self.tiles, 2):
                    lines += self._outputs_of(channel, row, tile)
        below = (self.transform.heights - 1) * self.out.pitch
        lines += [*add("y", CHANNELS - below), *self._step_back()]
        return [*lines, f"str y, [sp, #{self.frame.y}]"]

    def _step_back(self) -> list[str]:
        """Of an odd number of channels, the last two begin with one that was there before."""
        if self.out.channels % CHANNELS == 0:
            return []
        last = [f"ldr x0, [sp, #{self.frame.stream_end}]", *add("x0", -self._stream_bytes())]
        return [*last, "cmp stream, x0", "it eq", "subeq y, #1"]

    def _outputs_of(self, channel: int, row: int, tile: int) -> list[str]:
        """Two outputs of each of two tiles, or of the last."""
        count = min(2, self.tiles - tile)
        is_square = self.transform.columns > 1
        lines = []
        for j in range(SIZE if is_square else 2):
            place = 2 * j + row if is_square else j
            word = place * len(self.sums) + channel * self.tiles + tile
            names = ", ".join(f"column{j}_{t}" for t in range(count))
            load = "ldrd" if count == 2 else "ldr"
            lines += [f"{load} {names}, [sp, #{self.frame.columns + 4 * word}]"]
        for t in range(count):
            left, right, middle, last = (f"column{j}_{t}" for j in range(SIZE))
            if is_square:
                lines += [
                    f"add {left}, {left}, {right}",
                    f"sub {right}, {right}, {middle}",
                    f"add {left}, {left}, {middle}",
                    f"add {right}, {right}, {last}",
                ]
            for side, total in enumerate((left, right)):
                at = (self.strip.first(tile + t) + side) * self.out.channels + channel
                lines += [*self.out.assembly(total), f"strb {total}, [y, #{at}]"]
        return lines


def _sum(tile: int, channel: int) -> str:
    return f"sum{tile}{'ab'[channel]}"


class _Frame:
    """Offsets on the stack. What waits for its column's second half lies at the top."""

    def __init__(self, sums: int, columns: int) -> None:
        self.column = 4 * sums  # where the next sums of a column go
        self.end = self.column + 4  # of a loop over pairs
        self.words = self.end + 4
        self.y = self.words + 4
        self.stream_end = self.y + 4
        self.columns = self.stream_end + 4
        self.size = self.columns + 2 * columns * 4 * sums
