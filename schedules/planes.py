"""Planes: one channel of an NHWC image at a time, gathered with a border of the zero point.

A plane's words hold two elements each: 16-bit halves, or polynomials, x0 + x1 * 2^21, which
multiply as in depthwise_polynomials.py. A border is filled once for all channels; gathering writes
between it. A channel may go to several planes, each with some of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_tiny.schedules.microkernel import MicroKernel, Registers

FIELD_BITS = 21  # from one coefficient of a polynomial to the next
LARGEST_OFFSET = 4095
UNROLLED_ELEMENTS = 24  # longer rows are loops


@dataclass(frozen=True)
class Plane:
    """Where a channel goes: `rows` x `words` words, the image's part of it begins at (top, left).

    Of the image, `height` x `width` elements are gathered from `start` bytes on; they lie `step`
    bytes apart, its rows `pitch` bytes. The plane begins `place` words behind a channel's first.
    """

    rows: int
    words: int
    top: int
    left: int
    height: int
    width: int
    step: int
    pitch: int
    zero_point: int
    is_polynomial: bool
    start: int = 0
    place: int = 0

    @property
    def first(self) -> int:
        """Byte of the first word that is gathered."""
        column = 4 * (self.left // 2) if self.is_polynomial else 2 * self.left
        return 4 * self.place + self.top * self.bytes_of_row + column

    @property
    def bytes_of_row(self) -> int:
        """From row to row."""
        return 4 * self.words

    @property
    def fill(self) -> int:
        """A word of the border."""
        low, high = self.zero_point, self.zero_point
        if self.is_polynomial:
            return low + (high << FIELD_BITS)
        return ((low & 0xFFFF) | (high << 16)) if high >= 0 else (low & 0xFFFF) + (high << 16)

    @property
    def kind(self) -> str:
        """Of the elements."""
        return "polynomials" if self.is_polynomial else "halves"


def gather_microkernel(planes: Sequence[Plane]) -> MicroKernel:
    """Copy one channel into its planes, which are alike but for their columns."""
    p = planes[0]
    name = f"gather_{p.kind}_{p.height}x{p.width}_by{p.step}_{p.pitch}"
    name += f"_to{p.top}x{p.left}_{p.words}_fill{p.zero_point}".replace("-", "m")
    if len(planes) > 1 or p.start or p.place:
        name += "".join(f"_{q.start}x{q.width}_at{q.place}x{q.left}" for q in planes)
    return MicroKernel(
        name,
        "const int8_t *image, int32_t *words",
        f"A channel of {p.height} x {sum(q.width for q in planes)} pixels to {p.kind}.",
        _assembly(planes),
        tuple(line for plane in planes for line in _plain(plane)),
        needs_dsp=False,
    )


def _plain(plane: Plane) -> tuple[str, ...]:
    p = plane
    image = f"image + {p.start}" if p.start else "image"
    return (
        f"tiny_gather_{p.kind}({image}, {p.step}, {p.pitch}, {p.height}, {p.width}, "
        f"{p.zero_point}, {p.left},",
        f"    words + {p.place + p.top * p.words}, {p.words});",
    )


def _assembly(planes: Sequence[Plane]) -> tuple[str, ...]:
    """One plane after the other; two registers say where the last one left off."""
    p, image, plane = planes[0], 0, 0
    body = ["push {r4-r7}"]
    if p.is_polynomial:
        high = (p.zero_point << FIELD_BITS) & 0xFFFFFFFF
        body += [f"movw fill, #{high & 0xFFFF}", f"movt fill, #{high >> 16}"]
    for p in planes:
        body += [*add("image", p.start - image), *add("plane", p.first - plane)]
        body += [f"mov rows, #{p.height}", "0:", *_Gather(p).row(), "subs rows, #1", "bne 0b"]
        image, plane = p.start + p.height * p.pitch, p.first + p.height * p.bytes_of_row
    return _Gather.registers.wrap([*body, "pop {r4-r7}", "bx lr"])


class _Gather:
    registers = Registers(
        image="r0",
        plane="r1",
        rows="r2",
        chunks="r3",
        fill="r12",
        **{f"e{i}": f"r{4 + i}" for i in range(4)},
    )

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def row(self) -> list[str]:
        """A row, and on to the next."""
        p = self.plane
        lines, start = [], 0
        if p.is_polynomial and p.left % 2:
            lines += [
                "ldrsb e0, [image]",
                "lsl e0, e0, #21",
                f"{'add' if p.zero_point >= 0 else 'sub'} e0, e0, #{abs(p.zero_point)}",
                "str e0, [plane]",
            ]
            start = 1
        left = p.width - start
        skipped = 4 * start if p.is_polynomial else 0
        chunk = self._chunk(left)
        looped = left // chunk if left > chunk else 0
        moved = 0
        if looped:
            lines += [*add("image", start * p.step), *add("plane", skipped)]
            lines += [f"mov chunks, #{looped}", "1:", *self._elements(chunk, 0, 0)]
            lines += [*add("image", chunk * p.step), *add("plane", 2 * chunk)]
            lines += ["subs chunks, #1", "bne 1b"]
            moved = start + looped * chunk
            lines += self._elements(left - looped * chunk, 0, 0)
        else:
            lines += self._elements(left, start, skipped)
        lines += add("image", p.pitch - moved * p.step)
        return lines + add("plane", p.bytes_of_row - (skipped + 2 * looped * chunk if moved else 0))

    def _chunk(self, elements: int) -> int:
        """How many elements offsets reach, and code should hold."""
        reach = (LARGEST_OFFSET - self.plane.step) // self.plane.step + 1
        if elements <= UNROLLED_ELEMENTS and elements + 1 <= reach:
            return elements
        if reach >= 4:
            return min(reach, 16) // 4 * 4
        return reach // 2 * 2 if self.plane.is_polynomial else reach

    def _elements(self, count: int, start: int, byte: int) -> list[str]:
        """Elements from `start` on, four at a time so that no load waits for the one before."""
        lines = []
        for i in range(0, count, 4):
            names = [f"e{j}" for j in range(min(4, count - i))]
            lines += [
                f"ldrsb {name}, [image, #{(start + i + j) * self.plane.step}]"
                for j, name in enumerate(names)
            ]
            lines += self._stored(names, byte + 2 * i)
        return lines

    def _stored(self, names: Sequence[str], byte: int) -> list[str]:
        if not self.plane.is_polynomial:
            return [f"strh {name}, [plane, #{byte + 2 * j}]" for j, name in enumerate(names)]
        others = [*names, "fill"] if len(names) % 2 else list(names)
        lines = [
            f"add {low}, {low}, {high}{'' if high == 'fill' else f', lsl #{FIELD_BITS}'}"
            for low, high in zip(others[0::2], others[1::2], strict=True)
        ]
        if len(others) == 4:
            return [*lines, f"strd e0, e2, [plane, #{byte}]"]
        return [*lines, f"str e0, [plane, #{byte}]"]


def add(register: str, value: int) -> list[str]:
    """Add a constant of any size."""
    if value == 0:
        return []
    name, size = ("add" if value > 0 else "sub"), abs(value)
    high = size & ~0xFFF
    lines = [f"{name}w {register}, {register}, #{size & 0xFFF}"] if size & 0xFFF else []
    while high:  # eight bits at a time
        shift = (high & -high).bit_length() - 1
        part = high & (0xFF << shift)
        lines.append(f"{name} {register}, {register}, #{part}")
        high &= ~part
    return lines
