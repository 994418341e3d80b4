"""Depthwise convolutions on planes of 16-bit halves: one SMLAD for two taps, nothing to unpack.

3x3 at stride one: two neighbours share the words x0 x1 | x2 x3 of each row,
    left  = SMLAD(x0 x1, w0 w1) + SMLABT(x2 x3, w1 w2)
    right = SMLATB(x0 x1, w0 w1) + SMLAD(x2 x3, w1 w2)
with all weights in six registers.
Strides above one: words are taken where windows have them. At stride two a window begins with each
word, so that a word times (w0 w1) serves one output, times (w2 w3) the one before; at odd strides
every other window begins in the middle of a word, which is loaded from there. Up to eight outputs
are summed at once; each word is loaded once for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import LARGEST_OFFSET, add
from tvm_tiny.schedules.scaling import Scaling

ROW_PAIRS = 6  # pairs of outputs in a row without a loop
WEIGHTS = 4  # words in registers, w0 to w3
SUMS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")


@dataclass(frozen=True)
class Outputs:
    """What is computed from a plane: `height` x `width` outputs, `step` bytes apart.

    Rows of the output lie `pitch` bytes apart. `row_bytes` of the plane lie between the windows of
    two output rows, `tap_bytes` between rows of taps.
    """

    height: int
    width: int
    step: int
    pitch: int
    row_bytes: int
    tap_bytes: int
    scaling: Scaling
    tile: int = 0  # outputs at a time at the most, 0 for what is the best by instructions

    @property
    def gap(self) -> int:
        """Bytes from behind a row to the next; less than none where others lie between outputs."""
        return self.pitch - self.width * self.step

    @property
    def name(self) -> str:
        """Part of the names of micro-kernels."""
        size = f"{self.height}x{self.width}_by{self.step}"
        size += f"_{self.pitch}" if self.gap else ""
        size += f"_tiles{self.tile}" if self.tile else ""
        return f"{size}_rows{self.row_bytes}_{self.tap_bytes}_{self.scaling.name}"


PARAMETERS = "const int32_t *plane, const int32_t *table, int8_t *y"


def three_by_three(outputs: Outputs) -> MicroKernel:
    """3x3 taps at a horizontal stride of one.

    The table: bias, scaling, then w0 w1 | w1 w2 of each row.
    """
    o = outputs
    plain = (
        f"tiny_depthwise_3x3(plane, table, y, {o.height}, {o.width}, {o.step}, "
        f"{o.pitch}, {o.row_bytes // 4}, {o.tap_bytes // 4},",
        f"    {o.scaling.shift}, {o.scaling.plain});",
    )
    return MicroKernel(
        f"depthwise_3x3_{o.name}",
        PARAMETERS,
        f"3x3 taps at stride one: {o.height} x {o.width} outputs.",
        _ThreeByThree(outputs).assembly(),
        plain,
    )


class _ThreeByThree:
    registers = Registers(
        plane="r0",
        multiplier="r1",
        y="r2",
        x01="r3",
        **{f"w01_{row}": f"r{4 + 2 * row}" for row in range(3)},
        **{f"w12_{row}": f"r{5 + 2 * row}" for row in range(3)},
        left="r10",
        right="r11",
        x23="r12",
        offset="lr",
        spare="r3",
        shift="r12",
    )

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def assembly(self) -> tuple[str, ...]:
        o = self.outputs
        body = ["push {r4-r11, lr}", "sub sp, #28", *self._load_table()]
        body += [f"mov x01, #{o.height}", "str x01, [sp, #8]", "0:", *self._row()]
        body += ["ldr x01, [sp, #8]", "subs x01, #1", "str x01, [sp, #8]", "bne 0b"]
        return self.registers.wrap([*body, "add sp, #28", "pop {r4-r11, pc}"])

    def _load_table(self) -> list[str]:
        """Stack: the bias twice, rows left, the channel's own shift, columns left."""
        columns = len(self.outputs.scaling.columns)
        lines = [
            "ldr left, [r1]",
            "ldr right, [r1]",
            "strd left, right, [sp]",
            "ldr offset, [r1, #8]",
        ]
        if columns == 3:
            lines += ["ldr x23, [r1, #12]", "str x23, [sp, #12]"]
        return [
            *lines,
            f"add x01, r1, #{4 + 4 * columns}",
            "ldmia x01, {r4-r9}",
            "ldr multiplier, [r1, #4]",
        ]

    def _row(self) -> list[str]:
        o = self.outputs
        pairs, is_odd = divmod(o.width, 2)
        chunk = min(pairs, o.tile // 2 or ROW_PAIRS, LARGEST_OFFSET // o.step // 2)
        loops = pairs // chunk if chunk and pairs > chunk else 0
        lines: list[str] = []
        if loops:
            lines += [f"mov x01, #{loops}", "str x01, [sp, #16]", "1:", *self._pairs(chunk)]
            lines += [*add("plane", 4 * chunk), *add("y", 2 * chunk * o.step)]
            lines += ["ldr x01, [sp, #16]", "subs x01, #1", "str x01, [sp, #16]", "bne 1b"]
        rest = pairs - loops * chunk
        lines += [*self._pairs(rest), *(self._outputs(rest, 1) if is_odd else [])]
        done = 2 * loops * chunk
        lines += add("plane", o.row_bytes - 2 * done)
        return lines + add("y", o.pitch - done * o.step)

    def _pairs(self, count: int) -> list[str]:
        return [line for pair in range(count) for line in self._outputs(pair, 2)]

    def _outputs(self, pair: int, count: int) -> list[str]:
        """The two outputs of a pair, or only the left one."""
        o, scaling = self.outputs, self.outputs.scaling
        lines = ["ldrd left, right, [sp]"]
        for row in range(3):
            lines += [
                f"ldrd x01, x23, [plane, #{row * o.tap_bytes + 4 * pair}]",
                f"smlad left, x01, w01_{row}, left",
                f"smlabt left, x23, w12_{row}, left",
            ]
            if count == 2:
                lines += [
                    f"smlatb right, x01, w01_{row}, right",
                    f"smlad right, x23, w12_{row}, right",
                ]
        if len(scaling.columns) == 3:
            lines += ["ldr shift, [sp, #12]"]
        for side, name in enumerate(("left", "right")[:count]):
            lines += [*scaling.assembly(name), f"strb {name}, [y, #{(2 * pair + side) * o.step}]"]
        return lines


def strided(outputs: Outputs, rows: int, words: int, stride: int) -> MicroKernel:
    """rows x (2 words) taps at a horizontal stride above one. The table: weights, bias, scaling."""
    o = outputs
    plain = (
        f"tiny_depthwise_strided(plane, table, y, {o.height}, {o.width}, {o.step}, "
        f"{o.pitch}, {o.row_bytes // 4}, {o.tap_bytes // 4},",
        f"    {rows}, {words}, {stride}, {o.scaling.shift}, {o.scaling.plain});",
    )
    return MicroKernel(
        f"depthwise_{rows}x{2 * words}_stride{stride}_{o.name}",
        PARAMETERS,
        f"{rows} x {2 * words} taps at stride {stride}: {o.height} x {o.width} outputs.",
        _Strided(outputs, rows, words, stride).assembly(),
        plain,
    )


class _Strided:
    def __init__(self, outputs: Outputs, rows: int, words: int, stride: int) -> None:
        self.outputs, self.rows, self.words = outputs, rows, words
        self.step = 2 * stride  # bytes from window to window
        self.weights = 4 * rows * words  # bytes
        columns = len(outputs.scaling.columns)
        self.biases = self.weights + 4 * (1 + columns)
        self.biases += self.biases % 8
        self.y, self.left, self.tiles = (self.biases + 32 + 4 * i for i in range(3))
        self.frame = -(-(self.tiles + 4) // 8) * 8 + 4
        self.tile = min(outputs.tile or self._best_tile(), outputs.width)
        self.registers = Registers(
            plane="r0",
            x="r1",
            w0="r2",
            w1="r3",
            w2="r12",
            w3="lr",
            **{f"sum{i}": register for i, register in enumerate(SUMS)},
            y="r1",
            multiplier="r2",
            offset="r3",
            shift="r12",
            spare="lr",
        )

    def _reads(self, sums: int, words: int) -> dict[int, list[tuple[int, int]]]:
        """Which (sum, word of weights) want the word at each byte of a row, in ascending order."""
        reads: dict[int, list[tuple[int, int]]] = {}
        for i, t in itertools.product(range(sums), range(words)):
            reads.setdefault(i * self.step + 4 * t, []).append((i, t))
        return dict(sorted(reads.items()))

    def _cost(self, sums: int) -> int:
        loads = sum(
            len(self._reads(sums, words)) + -(-words // 2) for _, _, words in parts(1, self.words)
        )
        return self.rows * (loads + sums * self.words) + 3 * sums + 9

    def _best_tile(self) -> int:
        """How many outputs at a time take the fewest instructions for a row."""

        def row_cost(sums: int) -> int:
            whole, rest = divmod(self.outputs.width, sums)
            return whole * self._cost(sums) + (self._cost(rest) if rest else 0)

        reach = LARGEST_OFFSET // self.outputs.step + 1
        return min(range(1, min(len(SUMS), reach, self.outputs.width) + 1), key=row_cost)

    def assembly(self) -> tuple[str, ...]:
        o = self.outputs
        words = self.rows * self.words + 1 + len(o.scaling.columns)
        body = ["push {r4-r11, lr}", f"sub sp, #{self.frame}", f"str r2, [sp, #{self.y}]"]
        body += [*copy_table(words), f"ldr r4, [sp, #{self.weights}]"]
        body += [f"mov {register}, r4" for register in SUMS[1:]]
        body += [f"add r3, sp, #{self.biases}", "stmia r3, {r4-r11}"]
        body += [f"mov x, #{o.height}", f"str x, [sp, #{self.left}]", "0:", *self._row()]
        body += [f"ldr x, [sp, #{self.left}]", "subs x, #1", f"str x, [sp, #{self.left}]", "bne 0b"]
        return self.registers.wrap([*body, f"add sp, #{self.frame}", "pop {r4-r11, pc}"])

    def _row(self) -> list[str]:
        whole, rest = divmod(self.outputs.width, self.tile)
        lines: list[str] = []
        if whole > 1:
            lines += [f"mov x, #{whole}", f"str x, [sp, #{self.tiles}]", "1:"]
        lines += [*self._sums(self.tile), *add("plane", self.step * self.tile)]
        if whole > 1:
            lines += [f"ldr x, [sp, #{self.tiles}]", "subs x, #1"]
            lines += [f"str x, [sp, #{self.tiles}]", "bne 1b"]
        if rest:
            lines += self._sums(rest)
        if self.outputs.gap:
            at = f"[sp, #{self.y}]"
            lines += [f"ldr y, {at}", *add("y", self.outputs.gap), f"str y, {at}"]
        return lines + add("plane", self.outputs.row_bytes - self.step * whole * self.tile)

    def _sums(self, count: int) -> list[str]:
        o, scaling = self.outputs, self.outputs.scaling
        lines = [f"add x, sp, #{self.biases}", f"ldmia x, {{{', '.join(SUMS[:count])}}}"]
        for row, first, words in parts(self.rows, self.words):
            lines += load_weights(words, 4 * (row * self.words + first))
            for byte, users in self._reads(count, words).items():
                lines += [f"ldr x, [plane, #{row * o.tap_bytes + 4 * first + byte}]"]
                lines += [f"smlad sum{i}, x, w{t}, sum{i}" for i, t in reversed(users)]
        parameters = self.weights + 4
        lines += ["/* scale, narrow, store */"]
        lines += [f"ldr y, [sp, #{self.y}]", f"ldr multiplier, [sp, #{parameters}]"]
        lines += [f"ldr offset, [sp, #{parameters + 4}]"]
        if len(scaling.columns) == 3:
            lines += [f"ldr shift, [sp, #{parameters + 8}]"]
        for i in range(count):
            lines += [*scaling.assembly(f"sum{i}"), f"strb sum{i}, [y, #{i * o.step}]"]
        return [*lines, *add("y", count * o.step), f"str y, [sp, #{self.y}]"]


def copy_table(words: int) -> list[str]:
    """The table, which r1 points to, to the stack's end, from where no register is needed."""
    lines = ["mov r3, sp"]
    for start in range(0, words, len(SUMS)):
        names = ", ".join(SUMS[: min(len(SUMS), words - start)])
        lines += [f"ldmia r1!, {{{names}}}", f"stmia r3!, {{{names}}}"]
    return lines


def parts(rows: int, words: int) -> Iterator[tuple[int, int, int]]:
    """Rows of taps in as many words as registers hold: (row, first word, words)."""
    for row, first in itertools.product(range(rows), range(0, words, WEIGHTS)):
        yield row, first, min(words - first, WEIGHTS)


def load_weights(words: int, byte: int) -> list[str]:
    """A row's weights from the stack into w0 to w3."""
    lines = []
    for t in range(0, words, 2):
        if t + 1 < words:
            lines.append(f"ldrd w{t}, w{t + 1}, [sp, #{byte + 4 * t}]")
        else:
            lines.append(f"ldr w{t}, [sp, #{byte + 4 * t}]")
    return lines
