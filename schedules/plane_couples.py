"""Planes of two neighbouring channels at once, which costs three quarters of one after the other.

Channels 2c and 2c + 1 of a pixel are a half word. Two such of neighbouring pixels make a word of
four bytes, and SXTB16 of it, plain and rotated, is a word of halves for each channel's plane. Words
at a row's ends that hold an element of the border get the zero point.
"""

from __future__ import annotations

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import LARGEST_OFFSET, UNROLLED_ELEMENTS, Plane, add

GROUP = 4  # elements of a row: two words of each plane, which one instruction stores
LARGEST_GROUPS = 4  # of a loop


def can_gather(plane: Plane) -> bool:
    """Whether words are halves, and offsets within a group fit instructions."""
    is_alone = not plane.is_polynomial and not plane.place
    return is_alone and (GROUP - 1) * plane.step <= LARGEST_OFFSET


def gather_microkernel(plane: Plane) -> MicroKernel:
    """Copy a channel into its plane, and the next one into the plane behind it."""
    p = plane
    name = f"gather_couple_{p.height}x{p.width}_by{p.step}_{p.pitch}"
    name += f"_to{p.rows}x{p.words}_{p.top}x{p.left}_fill{p.zero_point}".replace("-", "m")
    name += f"_from{p.start}" if p.start else ""
    plain = [
        f"tiny_gather_halves(image + {p.start + side}, {p.step}, {p.pitch}, {p.height}, {p.width}, "
        f"{p.zero_point}, {p.left},\n    "
        f"    words + {(side * p.rows + p.top) * p.words}, {p.words});"
        for side in range(2)
    ]
    return MicroKernel(
        name,
        "const int8_t *image, int32_t *words",
        f"Two channels of {p.height} x {p.width} pixels to halves.",
        _Gather(plane).assembly(),
        tuple(plain),
    )


class _Gather:
    """`place` counts elements from a row's first word on, whose first may be of the border."""

    registers = Registers(
        image="r0",
        even="r1",
        odd="r12",
        rows="r2",
        groups="r3",
        fill="r8",
        **{f"e{i}": f"r{4 + i}" for i in range(GROUP)},
    )

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.skipped = plane.left % 2
        self.end = self.skipped + plane.width

    def assembly(self) -> tuple[str, ...]:
        p = self.plane
        byte = p.zero_point & 0xFF
        first = p.top * p.bytes_of_row + 4 * (p.left // 2)
        body = ["push {r4-r8}", f"movw fill, #{byte << 8 | byte}"]
        body += [*add("image", p.start), *add("even", first)]
        size = p.rows * p.bytes_of_row
        body += ["mov odd, even", *add("odd", size), f"mov rows, #{p.height}"]
        return self.registers.wrap(
            [*body, "0:", *self._row(), "subs rows, #1", "bne 0b", "pop {r4-r8}", "bx lr"]
        )

    def _row(self) -> list[str]:
        """A row, and on to the next."""
        p = self.plane
        reach = (LARGEST_OFFSET // p.step + 1) // GROUP  # groups
        if p.width <= UNROLLED_ELEMENTS and -(-self.end // GROUP) <= reach:
            return [*self._groups(0, self.end, 0), *self._move(0, p.pitch, p.bytes_of_row)]
        # whole groups are a loop, between one that begins with the border, and the rest
        chunk = GROUP * min(reach, LARGEST_GROUPS)
        first = GROUP * self.skipped
        loops = (self.end - first) // chunk
        last = first + loops * chunk
        lines = [*self._groups(0, first, 0), *self._move(0, self._bytes(first), 2 * first)]
        if loops:
            lines += [f"mov groups, #{loops}", "1:", *self._groups(first, first + chunk, first)]
            lines += self._move(first, self._bytes(first + chunk), 2 * (first + chunk))
            lines += ["subs groups, #1", "bne 1b"]
        lines += self._groups(last, self.end, last)
        return [*lines, *self._move(last, p.pitch, p.bytes_of_row)]

    def _bytes(self, place: int) -> int:
        """From a row's first byte of the image."""
        return max(place - self.skipped, 0) * self.plane.step

    def _move(self, place: int, image: int, plane: int) -> list[str]:
        """From where a place is reached to bytes of the row."""
        return [
            *add("image", image - self._bytes(place)),
            *add("even", plane - 2 * place),
            *add("odd", plane - 2 * place),
        ]

    def _groups(self, start: int, end: int, base: int) -> list[str]:
        """Places from `start` to `end`, offsets from where `base` is reached."""
        return [
            line
            for place in range(start, end, GROUP)
            for line in self._group(place, min(place + GROUP, self.end), base)
        ]

    def _group(self, start: int, end: int, base: int) -> list[str]:
        words = -(-(end - start) // 2)
        lines = [
            f"ldrh e{place - start}, [image, #{self._bytes(place) - self._bytes(base)}]"
            for place in range(max(start, self.skipped), end)
        ]
        for word in range(words):
            low, high = f"e{2 * word}", f"e{2 * word + 1}"
            left = "fill" if start + 2 * word < self.skipped else low
            right = "fill" if start + 2 * word + 1 >= end else high
            lines += [
                f"pkhbt {low}, {left}, {right}, lsl #16",
                f"sxtb16 {high}, {low}, ror #8",
                f"sxtb16 {low}, {low}",
            ]
        at = 2 * (start - base)
        if words == 2:
            return [*lines, f"strd e0, e2, [even, #{at}]", f"strd e1, e3, [odd, #{at}]"]
        return [*lines, f"str e0, [even, #{at}]", f"str e1, [odd, #{at}]"]
