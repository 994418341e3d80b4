"""Windows of several pixels, two pixels in a word: a + b 2^23, tap by tap.

Words of a last, odd pixel are its elements alone. See long_tiles.py.
"""

from __future__ import annotations

from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.pair_windows import Window
from tvm_tiny.schedules.planes import add

FIELD_BITS = 23  # from one number of a word to the next
UNROLLED_TAPS = 24  # longer runs are loops of four
LOOPED_TAPS = 4


def expand_microkernel(window: Window, pixels: int) -> MicroKernel:
    """Expand the windows of `pixels` neighbours."""
    w = window
    name = f"couple_{pixels}px_{w.rows}x{w.runs}x{w.length}_by{w.run_step}_{w.pixel_step}"
    plain = (
        f"tiny_expand_couples(bytes, pitch, words, {pixels}, {w.rows}, {w.runs}, {w.length}, "
        f"{w.run_step}, {w.pixel_step});",
    )
    return MicroKernel(
        name,
        "const void *bytes, int32_t pitch, int32_t *words",
        f"Windows of {pixels} pixels to words of two pixels: {w.rows} x {w.runs} runs of "
        f"{w.length} bytes.",
        _Expand(window, pixels).assembly(),
        plain,
        needs_dsp=False,
    )


class _Expand:
    registers = Registers(
        bytes="r0",
        pitch="r1",
        words="r2",
        end="r3",
        rows="r12",
        **{f"e{i}": f"r{4 + i}" for i in range(8)},
    )

    def __init__(self, window: Window, pixels: int) -> None:
        self.window, self.pixels = window, pixels
        self.couples = -(-pixels // 2)

    def assembly(self) -> tuple[str, ...]:
        window, body = self.window, ["push {r4-r11, lr}"]
        if window.rows > 1:
            body += [f"mov rows, #{window.rows}", "0:"]
        for run in range(window.runs):
            body += self._run(run)
        if window.rows > 1:
            body += ["add bytes, bytes, pitch", "subs rows, #1", "bne 0b"]
        return self.registers.wrap([*body, "pop {r4-r11, pc}"])

    def _run(self, run: int) -> list[str]:
        start, length = run * self.window.run_step, self.window.length
        if length <= UNROLLED_TAPS:
            return self._taps(start, length)
        # a loop moves `bytes`, which goes back to the row's begin behind it
        looped, label = length - length % LOOPED_TAPS, 1 + run
        lines = [*add("bytes", start), "mov end, bytes", *add("end", looped), f"{label}:"]
        lines += self._taps(0, LOOPED_TAPS)
        lines += [f"add bytes, #{LOOPED_TAPS}", "cmp bytes, end", f"bne {label}b"]
        lines += self._taps(0, length - looped)
        return lines + add("bytes", -(start + looped))

    def _taps(self, offset: int, count: int) -> list[str]:
        """As many taps at a time as four registers hold words of."""
        at_once = 4 // self.couples
        lines: list[str] = []
        for first in range(0, count, at_once):
            taps = range(first, min(first + at_once, count))
            lines += self._store(offset, taps)
        return lines

    def _store(self, offset: int, taps: range) -> list[str]:
        """Even pixels go to e0 to e3, in the words' order; odd ones to e4 to e7."""
        loads, adds, words = [], [], 0
        for tap in taps:
            for pixel in range(0, self.pixels, 2):
                at = offset + tap + pixel * self.window.pixel_step
                loads += [f"ldrsb e{words}, [bytes, #{at}]"]
                if pixel + 1 < self.pixels:
                    loads += [f"ldrsb e{4 + words}, [bytes, #{at + self.window.pixel_step}]"]
                    adds += [f"add e{words}, e{words}, e{4 + words}, lsl #{FIELD_BITS}"]
                words += 1
        names = ", ".join(f"e{i}" for i in range(words))
        return [*loads, *adds, f"stmia words!, {{{names}}}"]
