"""Tiles for Winograd's transforms out of NHWC images, four channels in each word.

A few rows of neighbouring pixels become (channels / 4, rows, columns) words: what the transform of
four channels reads then lies side by side. Pixels outside of the image are the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import add

QUAD = 4  # channels of a word
UNROLLED_QUADS = 16  # more are a loop of four
LOADED = ("r4", "r5", "r6", "r7")


@dataclass(frozen=True)
class Image:
    """What is gathered from, and how much at a time; there are three channels or more."""

    height: int
    width: int
    channels: int
    rows: int
    columns: int
    zero_point: int


def first_channels(channels: int) -> tuple[int, ...]:
    """The first channel of each word."""
    return tuple(max(min(c, channels - QUAD), 0) for c in range(0, channels, QUAD))


def channel_order(channels: int) -> Array:
    """The channels of the words (quads, 4), -1 for none and those that were there before."""
    order = np.array(first_channels(channels))[:, None] + np.arange(QUAD)
    was_there = order < QUAD * np.arange(len(order))[:, None]
    return np.where(was_there | (order >= channels), -1, order)


def gather_microkernel(image: Image) -> MicroKernel:
    """Gather rows from (row, column) on."""
    i = image
    size = f"{i.height}x{i.width}x{i.channels}"
    return MicroKernel(
        f"winograd_gather_{i.rows}x{i.columns}of{size}_fill{i.zero_point & 0xFF}",
        "const int8_t *image, int32_t row, int32_t column, int32_t *gathered",
        f"{i.rows} rows x {i.columns} columns of {size}, by four channels; {i.zero_point} outside.",
        _Gather(image).assembly(),
        (
            f"tiny_winograd_gather(image, row, column, gathered, {i.height}, {i.width}, "
            f"{i.channels},",
            f"    {i.rows}, {i.columns}, {i.zero_point});",
        ),
    )


class _Gather:
    registers = Registers(
        pixel="r0",
        row="r1",
        column="r2",
        gathered="r3",
        **{f"quad{q}": register for q, register in enumerate(LOADED)},
        count="r6",
        fill="r8",
        x="r9",
        end="r10",
        limit="r11",
        to="r12",
        last="lr",
    )

    def __init__(self, image: Image) -> None:
        self.image = image
        self.quads = first_channels(image.channels)
        self.step = 4 * image.rows * image.columns

    def assembly(self) -> tuple[str, ...]:
        i = self.image
        fill = (i.zero_point & 0xFF) * 0x01010101
        body = [
            "push {r4-r11, lr}",
            f"mov fill, #{fill:#010x}",
            f"movw limit, #{i.width}",
            "mla x, row, limit, column",
            f"movw limit, #{i.channels}",
            "mla pixel, x, limit, pixel",
            f"add last, row, #{i.rows}",
            "0:",
            # columns below the limit are inside: none of a row outside
            f"movw limit, #{i.width}",
            f"movw to, #{i.height}",
            "cmp row, to",
            "it hs",
            "movhs limit, #0",
            "mov x, column",
            f"add end, column, #{i.columns}",
            "1:",
            "cmp x, limit",
            "bhs 3f",
            *self._copy(),
            "2:",
            *add("pixel", i.channels),
            "add gathered, #4",
            "add x, #1",
            "cmp x, end",
            "bne 1b",
            *add("pixel", (i.width - i.columns) * i.channels),
            "add row, #1",
            "cmp row, last",
            "bne 0b",
            "pop {r4-r11, pc}",
            "3:",
            *self._fill(),
            "b 2b",
        ]
        return self.registers.wrap(body)

    def _copy(self) -> list[str]:
        if self.image.channels < QUAD:  # a word would reach over the end of the image
            low, high = "ldrh quad0, [pixel]", "ldrb quad1, [pixel, #2]"
            return [low, high, "orr quad0, quad0, quad1, lsl #16", "str quad0, [gathered]"]
        if len(self.quads) <= UNROLLED_QUADS:
            lines = []
            for first in range(0, len(self.quads), len(LOADED)):
                quads = list(enumerate(self.quads))[first : first + len(LOADED)]
                lines += [f"ldr quad{q - first}, [pixel, #{at}]" for q, at in quads]
                lines += [f"str quad{q - first}, [gathered, #{q * self.step}]" for q, _ in quads]
            return lines
        move = add("to", 2 * self.step)
        one = ["ldr quad0, [pixel], #4", "str quad0, [to]"]
        other = ["ldr quad1, [pixel], #4", f"str quad1, [to, #{self.step}]"]
        last = [*add("pixel", self.image.channels - 4 * len(self.quads)), *one]
        # behind the loop, `pixel` goes back to where it was
        return [*self._loop([*one, *other, *move], one, last), *add("pixel", -self.image.channels)]

    def _fill(self) -> list[str]:
        if len(self.quads) <= UNROLLED_QUADS:
            return [f"str fill, [gathered, #{q * self.step}]" for q in range(len(self.quads))]
        one, other = ["str fill, [to]"], [f"str fill, [to, #{self.step}]"]
        return self._loop([*one, *other, *add("to", 2 * self.step)], one, one)

    def _loop(self, two: list[str], one: list[str], last: list[str]) -> list[str]:
        """Four quads at a time, then what is left of them, the last one apart."""
        fours, rest = divmod(len(self.quads) - 1, 4)
        lines = ["mov to, gathered", f"movw count, #{fours}", "4:", *two, *two]
        lines += ["subs count, #1", "bne 4b", *two * (rest // 2)]
        return [*lines, *[*one, *add("to", self.step)] * (rest % 2), *last]
