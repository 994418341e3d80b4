"""Inputs of Winograd's tiles, two channels at a time: four of a row, or 4 x 4, to as many words.

Along each axis d0 - d2, d1 + d2, d2 - d1, d3 - d1: two additions of int8 values in all, at most 512
either way. For F(2x2, 3x3) columns come first, from words of four bytes into a buffer on the stack;
it is popped row by row, each row shared by all tiles that lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import add
from tvm_tiny.schedules.winograd_strips import SIZE, SQUARE, Strip, Transform

ORDER = (1, 2, 0, 3)  # in which four positions lie: tiles add them up like that
COMBINED = (("ssub16", 0, 2), ("sadd16", 1, 2), ("ssub16", 2, 1), ("ssub16", 3, 1))


def inputs_microkernel(transform: Transform, strip: Strip) -> MicroKernel:
    """Transformed inputs of a strip, `count` quads of them or lines; for layers of any depth."""
    kind = _Squares if transform == SQUARE else _Lines
    return MicroKernel(
        f"winograd_{kind.name}_{strip.name}",
        "const int32_t *gathered, int32_t *words, int32_t count",
        f"Inputs of {strip.tiles} tiles for Winograd's {kind.form}, as pairs of halves.",
        kind(strip).assembly(),
        (f"tiny_winograd_{kind.name}(gathered, words, count, {strip.tiles}, {strip.overlap});",),
    )


def _row(strip: Strip, offsets: Sequence[int]) -> list[str]:
    """A row in registers to four positions of all tiles, at `offsets` from `words`."""
    lines = []
    for (operation, first, second), offset in zip(COMBINED, offsets, strict=True):
        for tile in range(0, strip.tiles, 2):
            names = ("one", "other")[: strip.tiles - tile]
            for name, column in zip(names, map(strip.first, (tile, tile + 1)), strict=False):
                lines += [f"{operation} {name}, in{column + first}, in{column + second}"]
            store = "strd" if len(names) == 2 else "str"
            lines += [f"{store} {', '.join(names)}, [words, #{offset + 4 * tile}]"]
    return lines


class _Lines:
    name, form = "lines", "F(2, 3)"

    def __init__(self, strip: Strip) -> None:
        self.strip = strip
        self.row = [f"in{column}" for column in range(strip.columns)]
        free = [*(f"r{number}" for number in range(4, 13)), "lr"]
        names = dict(zip(self.row, free, strict=False))
        self.registers = Registers(gathered="r0", words="r1", one="r2", other="r3", **names)

    def assembly(self) -> tuple[str, ...]:
        word_bytes = 4 * SIZE * self.strip.tiles
        body = [
            # on the stack: where the inputs end
            "push {r4-r11, lr}",
            f"movw r3, #{4 * self.strip.columns}",
            "mla r2, r2, r3, gathered",
            "push {r2}",
            "0:",
            *self._half(0, "gathered", ""),
            *self._half(word_bytes, "gathered!", ", ror #8"),
            f"add words, #{2 * word_bytes}",
            "ldr one, [sp]",
            "cmp gathered, one",
            "bne 0b",
            "add sp, #4",
            "pop {r4-r11, pc}",
        ]
        return self.registers.wrap(body)

    def _half(self, offset: int, source: str, rotated: str) -> list[str]:
        """Even or odd bytes of a row."""
        expand = [f"sxtb16 {name}, {name}{rotated}" for name in self.row]
        offsets = [offset + 4 * self.strip.tiles * ORDER.index(k) for k in range(SIZE)]
        load = f"ldmia {source}, {{{', '.join(self.row)}}}"
        return [load, *expand, *_row(self.strip, offsets)]


class _Squares:
    name, form = "squares", "F(2x2, 3x3)"

    def __init__(self, strip: Strip) -> None:
        self.strip, self.tiles, self.columns = strip, strip.tiles, strip.columns
        free = [f"r{number}" for number in range(2, 13)]
        self.registers = Registers(
            # columns: two neighbours of rows 1, 2, and 0 or 3
            gathered="r0",
            middle0="r2",
            middle1="r3",
            below0="r4",
            below1="r5",
            outer0="r6",
            outer1="r7",
            # rows
            words="r0",
            one="r1",
            other="r2",
            rows="lr",
            **{f"in{column}": free[1 + column] for column in range(self.columns)},
        )

    @property
    def buffer_bytes(self) -> int:
        """Rows of even and odd channels in turn."""
        return 2 * SIZE * self.columns * 4

    def assembly(self) -> tuple[str, ...]:
        quad_bytes = SIZE * self.columns * 4
        word_bytes = 4 * SIZE * SIZE * self.tiles
        body = [
            # on the stack: where the inputs end, what is read and written next
            "push {r4-r11, lr}",
            f"movw r3, #{quad_bytes}",
            "mla r2, r2, r3, gathered",
            "push {r0, r1, r2}",
            "0:",
            f"sub sp, #{self.buffer_bytes}",
            *self._columns(0),
            *self._columns(1),
            *add("gathered", quad_bytes),
            f"str gathered, [sp, #{self.buffer_bytes}]",
            f"ldr words, [sp, #{self.buffer_bytes + 4}]",
            f"mov rows, #{SIZE}",
            "1:",
            *self._row(0),
            *self._row(word_bytes),
            f"add words, #{4 * self.tiles}",
            "subs rows, #1",
            "bne 1b",
            *add("words", 2 * word_bytes - SIZE * 4 * self.tiles),
            "str words, [sp, #4]",
            "ldr r1, [sp, #8]",
            "ldr gathered, [sp]",
            "cmp gathered, r1",
            "bne 0b",
            "add sp, #12",
            "pop {r4-r11, pc}",
        ]
        return self.registers.wrap(body)

    def _columns(self, half: int) -> list[str]:
        """Even (0) or odd (1) bytes of all columns, two columns at a time."""
        rotated = ", ror #8" if half else ""
        lines = []
        for column in range(0, self.columns, 2):

            def load(name: str, row: int, column: int = column) -> list[str]:
                at = 4 * (row * self.columns + column)
                expand = [f"sxtb16 {name}{i}, {name}{i}{rotated}" for i in (0, 1)]
                return [f"ldrd {name}0, {name}1, [gathered, #{at}]", *expand]

            def store(name: str, row: int, column: int = column) -> str:
                at = 4 * ((2 * ORDER.index(row) + half) * self.columns + column)
                return f"strd {name}0, {name}1, [sp, #{at}]"

            lines += [*load("middle", 1), *load("below", 2), *load("outer", 0)]
            lines += [f"ssub16 outer{i}, outer{i}, below{i}" for i in (0, 1)]
            lines += [store("outer", 0), *load("outer", 3)]
            lines += [f"ssub16 outer{i}, outer{i}, middle{i}" for i in (0, 1)]
            lines += [store("outer", 3)]
            lines += [f"sadd16 outer{i}, middle{i}, below{i}" for i in (0, 1)]
            lines += [store("outer", 1)]
            lines += [f"ssub16 middle{i}, below{i}, middle{i}" for i in (0, 1)]
            lines += [store("middle", 2)]
        return lines

    def _row(self, offset: int) -> list[str]:
        """A row of the buffer to the positions of the same row, four words for each tile."""
        load = f"ldmia sp!, {{{', '.join(f'in{c}' for c in range(self.columns))}}}"
        offsets = [offset + 4 * self.tiles * SIZE * position for position in range(SIZE)]
        return [load, *_row(self.strip, offsets)]
