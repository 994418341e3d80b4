"""Depthwise convolutions by multiplying polynomials: four products for one SMLAL.

With B = 2^21, a word of two neighbours x0 + x1 B times a word of two taps w1 + w0 B is
    x0 w1 + (x0 w0 + x1 w1) B + x1 w0 B^2.
Summed over all taps, the middle coefficient is the output at the even column where the words
begin; the high one plus the low one of the next word's sum is the output between them. All three
stay below 2^20 (below 2^19 at the ends), which is proven from the weights: sums start with those
limits, so that no coefficient is negative and none borrows from the next.

At stride two a window begins with each word, and middle coefficients are all outputs: two products
for an SMLAL, on cores that have no SMLAD.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.depthwise_pairs import (
    PARAMETERS,
    SUMS,
    Outputs,
    copy_table,
    load_weights,
    parts,
)
from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import FIELD_BITS, LARGEST_OFFSET, add

END, MIDDLE = 1 << 19, 1 << 20  # what coefficients start with
START = END + (MIDDLE << FIELD_BITS) + (END << 2 * FIELD_BITS)
LARGEST_TILE = 4  # sums, of two registers each
LARGEST_ACTIVATION = 128


def fits(weight: Array) -> bool:
    """Whether no coefficient leaves its field, for any input; weights (rows, columns, channels)."""
    magnitude = np.abs(weight.astype(np.int64)) * LARGEST_ACTIVATION
    ends = [magnitude[:, parity::2].sum(axis=(0, 1)).max(initial=0) for parity in (0, 1)]
    return max(ends) < END and magnitude.sum(axis=(0, 1)).max(initial=0) < MIDDLE


def pack_weights(weight: Array) -> Array:
    """(rows, columns, channels) int8 to (channels, rows x words) int32: w1 + w0 B of every two."""
    _, columns, channels = weight.shape
    padded = np.pad(weight.astype(np.int64), ((0, 0), (0, columns % 2), (0, 0)))
    words = padded[:, 1::2] + (padded[:, 0::2] << FIELD_BITS)
    return words.reshape(-1, channels).T


def convolve(
    outputs: Outputs, rows: int, words: int, stride: int = 1, *, needs_dsp: bool = True
) -> MicroKernel:
    """rows x (2 words) taps at a horizontal stride. The table: weights, bias, scaling.

    The bias is doubled and less the middle coefficient's start; see Rounded for the scaling.
    """
    o = outputs
    doubling = int(o.scaling.scale[0])
    plain = (
        f"tiny_depthwise_polynomials(plane, table, y, {o.height}, {o.width}, {o.step}, "
        f"{o.pitch}, {o.row_bytes // 4}, {o.tap_bytes // 4},",
        f"    {rows}, {words}, {stride}, {doubling}, {o.scaling.shift}, {o.scaling.plain});",
    )
    suffix = "" if stride == 1 else f"_s{stride}"
    return MicroKernel(
        f"depthwise_{rows}x{2 * words}{suffix}_polynomials_{o.name}_{doubling}",
        PARAMETERS,
        f"{rows} x {2 * words} taps at stride {stride}: {o.height} x {o.width} outputs.",
        _Convolve(outputs, rows, words, stride).assembly(),
        plain,
        needs_dsp,
    )


class _Convolve:
    def __init__(self, outputs: Outputs, rows: int, words: int, stride: int) -> None:
        self.outputs, self.rows, self.words = outputs, rows, words
        self.has_between = stride == 1
        reach = (LARGEST_OFFSET // outputs.step + 1) // 2
        self.tile = min(outputs.tile or LARGEST_TILE, LARGEST_TILE, reach)
        self.parameters = 4 * rows * words  # bytes
        own = self.parameters + 4 * (1 + len(outputs.scaling.columns))
        own += own % 8
        self.start, self.y, self.plane, self.carry, self.left, self.tiles = (
            own + (8 if i else 0) + 4 * max(i - 1, 0) for i in range(6)
        )
        self.frame = -(-(self.tiles + 4) // 8) * 8 + 4
        self.registers = Registers(
            plane="r0",
            x="r1",
            w0="r2",
            w1="r3",
            w2="r12",
            w3="lr",
            **{f"low{i}": SUMS[2 * i] for i in range(LARGEST_TILE)},
            **{f"high{i}": SUMS[2 * i + 1] for i in range(LARGEST_TILE)},
            y="r1",
            bias="r2",
            multiplier="r3",
            offset="r12",
            shift="lr",
            low="r0",
            spare="r0",
        )

    def assembly(self) -> tuple[str, ...]:
        o = self.outputs
        words = self.rows * self.words + 1 + len(o.scaling.columns)
        low, high = START & 0xFFFFFFFF, START >> 32
        body = ["push {r4-r11, lr}", f"sub sp, #{self.frame}"]
        body += [f"str r2, [sp, #{self.y}]", f"str plane, [sp, #{self.plane}]", *copy_table(words)]
        for register, value in (("r2", low), ("r3", high)):
            body += [f"movw {register}, #{value & 0xFFFF}", f"movt {register}, #{value >> 16}"]
        body += [f"strd r2, r3, [sp, #{self.start}]", f"mov x, #{o.height}"]
        body += [f"str x, [sp, #{self.left}]", "0:", *self._row()]
        body += [f"ldr x, [sp, #{self.left}]", "subs x, #1", f"str x, [sp, #{self.left}]", "bne 0b"]
        return self.registers.wrap([*body, f"add sp, #{self.frame}", "pop {r4-r11, pc}"])

    def _row(self) -> list[str]:
        """First tile, a loop of whole ones, and the last, whose last middle may lie outside."""
        o = self.outputs
        sums = o.width // 2 + 1 if self.has_between else o.width
        first = min(sums, self.tile)
        inner, last = divmod(sums - first, self.tile)
        if inner and not last:
            inner, last = inner - 1, self.tile
        skip_last = self.has_between and o.width % 2 == 0
        lines = self._tile(first, is_first=True, skip_last=skip_last and first == sums)
        if inner:
            lines += [f"mov x, #{inner}", f"str x, [sp, #{self.tiles}]", "1:"]
            lines += self._tile(self.tile)
            lines += [f"ldr x, [sp, #{self.tiles}]", "subs x, #1"]
            lines += [f"str x, [sp, #{self.tiles}]", "bne 1b"]
        if last:
            lines += self._tile(last, skip_last=skip_last)
        lines += [*add("plane", o.row_bytes - 4 * sums), f"str plane, [sp, #{self.plane}]"]
        if o.gap:
            lines += [f"ldr y, [sp, #{self.y}]", *add("y", o.gap), f"str y, [sp, #{self.y}]"]
        return lines

    def _tile(self, count: int, *, is_first: bool = False, skip_last: bool = False) -> list[str]:
        o = self.outputs
        lines = [f"ldrd low{i}, high{i}, [sp, #{self.start}]" for i in range(count)]
        for row, first, words in parts(self.rows, self.words):
            lines += [f"/* row {row} of taps */"]
            lines += load_weights(words, 4 * (row * self.words + first))
            for i in range(count + words - 1):
                lines += [f"ldr x, [plane, #{row * o.tap_bytes + 4 * (first + i)}]"]
                lines += [
                    f"smlal low{i - t}, high{i - t}, x, w{t}"
                    for t in range(words)
                    if 0 <= i - t < count
                ]
        lines += ["/* coefficients to sums; scale, narrow, store */"]
        lines += [f"ldr y, [sp, #{self.y}]", *self._load_parameters()]
        lines += self._finish(count, is_first, skip_last)
        lines += [f"str high{count - 1}, [sp, #{self.carry}]", f"str y, [sp, #{self.y}]"]
        lines += [f"ldr plane, [sp, #{self.plane}]", *add("plane", 4 * count)]
        return [*lines, f"str plane, [sp, #{self.plane}]"]

    def _load_parameters(self) -> list[str]:
        names = ["bias", "multiplier", "offset", "shift"][: 1 + len(self.outputs.scaling.columns)]
        return [f"ldr {name}, [sp, #{self.parameters + 4 * i}]" for i, name in enumerate(names)]

    def _finish(self, count: int, is_first: bool, skip_last: bool) -> list[str]:
        """Coefficients to outputs: between each sum and the one before, then at its own column."""
        lines: list[str] = []
        position = 0
        for i in range(count):
            if self.has_between and (i or not is_first):
                lines += self._between(i)
                lines += self._store(f"high{i - 1}" if i else "bias", position)
                position += 1
            if self.has_between and i == 0 and not is_first:
                lines += [f"ldr bias, [sp, #{self.parameters}]"]
            if skip_last and i == count - 1:
                continue
            lines += [*self._own(i), *self._store(f"low{i}", position)]
            position += 1
        return [*lines, *add("y", position * self.outputs.step)]

    def _between(self, i: int) -> list[str]:
        """The sum of the output before word i's own, doubled and with its bias."""
        doubling = int(self.outputs.scaling.scale[0])
        lines = [f"ubfx low, low{i}, #0, #{FIELD_BITS}"]
        if i:
            before = f"high{i - 1}"
            lines += [f"add {before}, low, {before}, lsr #10"]
            return [*lines, f"add {before}, bias, {before}, lsl #{doubling}"]
        # the word before is of another tile, and registers are short: `bias` becomes the sum
        lines += [f"ldr x, [sp, #{self.carry}]", "add low, low, x, lsr #10"]
        return [*lines, f"add bias, bias, low, lsl #{doubling}", f"ldr y, [sp, #{self.y}]"]

    def _own(self, i: int) -> list[str]:
        """The sum at word i's own column, likewise."""
        doubling = int(self.outputs.scaling.scale[0])
        return [
            f"lsr low{i}, low{i}, #{FIELD_BITS}",
            f"bfi low{i}, high{i}, #11, #10",
            f"add low{i}, bias, low{i}, lsl #{doubling}",
        ]

    def _store(self, total: str, position: int) -> list[str]:
        scaled = self.outputs.scaling.assembly(total)
        return [*scaled, f"strb {total}, [y, #{position * self.outputs.step}]"]
