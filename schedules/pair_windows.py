"""Windows of several pixels, expanded to words of two 16-bit halves each.

A window is a list of runs: elements that lie side by side in the image (a row of taps, or one tap
where dilation or groups keep taps apart). SXTB16 makes of four elements the pairs (0, 2) and
(1, 3), so those are the order in which weights are packed too; what is left of a run makes
one or two more pairs. Pairs of up to four pixels alternate: pair 0 of each pixel, pair 1 of each...
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Array
from tvm_tiny.schedules.microkernel import MicroKernel, Registers

QUAD_PAIRS = ((0, 2), (1, 3))
REST_PAIRS: dict[int, tuple[tuple[int, int | None], ...]] = {
    0: (),
    1: ((0, None),),
    2: ((0, 1),),
    3: ((0, 2), (1, None)),
}
LOADED_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
UNROLLED_QUADS = 6  # longer runs are loops of two quads


@dataclass(frozen=True)
class Window:
    """`rows` x `runs` runs of `length` bytes each; `run_step` bytes lie between those of a row.

    `pixel_step` bytes lie between the windows of neighbouring pixels. Rows are as far apart as a
    micro-kernel's argument says.
    """

    rows: int
    runs: int
    length: int
    run_step: int
    pixel_step: int

    @property
    def pairs_of_run(self) -> tuple[tuple[int, int | None], ...]:
        """Elements of a run, pair by pair."""
        quads = range(0, self.length - self.length % 4, 4)
        whole = [(q + a, q + b) for q in quads for a, b in QUAD_PAIRS]
        base = self.length - self.length % 4
        rest = [(base + a, None if b is None else base + b) for a, b in REST_PAIRS[self.length % 4]]
        return (*whole, *rest)

    @property
    def pairs(self) -> int:
        """Words of one pixel."""
        return self.rows * self.runs * len(self.pairs_of_run)

    @property
    def taps(self) -> int:
        """Elements of one pixel."""
        return self.rows * self.runs * self.length

    def order(self) -> Array:
        """(pairs, 2): which element of the flat window each half holds, -1 for none."""
        base = np.arange(self.rows * self.runs)[:, None, None] * self.length
        pairs = np.array([(a, -1 if b is None else b) for a, b in self.pairs_of_run])
        return np.where(pairs < 0, -1, base + pairs).reshape(-1, 2)


def expand_microkernel(window: Window, pixels: int) -> MicroKernel:
    """Expand the windows of `pixels` neighbours."""
    w = window
    name = f"expand_{pixels}px_{w.rows}x{w.runs}x{w.length}_by{w.run_step}_{w.pixel_step}"
    plain = (
        f"tiny_expand_windows(bytes, pitch, words, {pixels}, {w.rows}, {w.runs}, {w.length}, "
        f"{w.run_step}, {w.pixel_step});",
    )
    return MicroKernel(
        name,
        "const void *bytes, int32_t pitch, int32_t *words",
        f"Windows of {pixels} pixels to pairs of 16-bit halves: {w.rows} x {w.runs} runs of "
        f"{w.length} bytes.",
        _expand_assembly(window, pixels),
        plain,
    )


def _expand_assembly(window: Window, pixels: int) -> tuple[str, ...]:
    even = [f"even{p}" for p in range(pixels)]
    odd = [f"odd{p}" for p in range(pixels)]
    # stores take registers in ascending order: all even ones of a quad come first
    names = dict(zip([*even, *odd], LOADED_REGISTERS, strict=False))
    registers = Registers(bytes="r0", pitch="r1", words="r2", end="r3", rows="r12", **names)
    body = ["push {r4-r11, lr}"]
    single = window.rows == 1
    if not single:
        body += [f"mov rows, #{window.rows}", "0:"]
    for run in range(window.runs):
        body += _run(window, even, odd, run)
    if not single:
        body += ["add bytes, bytes, pitch", "subs rows, #1", "bne 0b"]
    return registers.wrap([*body, "pop {r4-r11, pc}"])


def _run(window: Window, even: list[str], odd: list[str], run: int) -> list[str]:
    start, quads, rest = run * window.run_step, window.length // 4, window.length % 4
    if quads <= UNROLLED_QUADS:
        lines = [line for q in range(quads) for line in _quad(window, even, odd, start + 4 * q)]
        return lines + _rest(window, even, odd, start + 4 * quads, rest)
    # a loop moves `bytes`, which goes back to the row's begin behind it
    looped, label = quads - quads % 2, 1 + run
    lines = [*_add("bytes", start), *_add("end", 4 * looped, "bytes"), f"{label}:"]
    lines += [*_quad(window, even, odd, 0), *_quad(window, even, odd, 4)]
    lines += ["add bytes, #8", "cmp bytes, end", f"bne {label}b"]
    if quads % 2:
        lines += _quad(window, even, odd, 0)
    lines += _rest(window, even, odd, 4 * (quads - looped), rest)
    return lines + _add("bytes", -(start + 4 * looped))


def _quad(window: Window, even: list[str], odd: list[str], offset: int) -> list[str]:
    lines = [
        f"ldr {name}, [bytes, #{offset + p * window.pixel_step}]" for p, name in enumerate(even)
    ]
    lines += [f"sxtb16 {o}, {e}, ror #8" for e, o in zip(even, odd, strict=True)]
    lines += [f"sxtb16 {e}, {e}" for e in even]
    return [*lines, f"stmia words!, {{{', '.join([*even, *odd])}}}"]


def _rest(window: Window, even: list[str], odd: list[str], offset: int, rest: int) -> list[str]:
    """Up to three elements behind the last whole word, which may be the last of the tensor."""
    lines = []
    for p, (e, o) in enumerate(zip(even, odd, strict=True)):
        at = offset + p * window.pixel_step
        lines += {
            0: [],
            1: [f"ldrsb {e}, [bytes, #{at}]", f"uxth {e}, {e}"],
            2: [
                f"ldrsb {e}, [bytes, #{at}]",
                f"ldrsb {o}, [bytes, #{at + 1}]",
                f"pkhbt {e}, {e}, {o}, lsl #16",
            ],
            3: [
                f"ldrsb {e}, [bytes, #{at}]",
                f"ldrsb {o}, [bytes, #{at + 2}]",
                f"pkhbt {e}, {e}, {o}, lsl #16",
                f"ldrsb {o}, [bytes, #{at + 1}]",
                f"uxth {o}, {o}",
            ],
        }[rest]
    stored = {0: [], 1: even, 2: even, 3: [*even, *odd]}[rest]
    return [*lines, f"stmia words!, {{{', '.join(stored)}}}"] if stored else []


def _add(target: str, value: int, source: str | None = None) -> list[str]:
    source = source or target
    if value == 0:
        return [] if source == target else [f"mov {target}, {source}"]
    return [f"{'add' if value > 0 else 'sub'}w {target}, {source}, #{abs(value)}"]
