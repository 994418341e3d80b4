"""The inner loop of convolutions on Helium, made for a layer: two pixels x four output channels.

Sums are in eight core registers, and the four of a pixel become one vector, so that parameters are
vectors too. While a group of channels is multiplied, the one before is scaled and stored: its
instructions go where the multiplier's have left room (instruction_order.py). That takes fewer
cycles than the loops of runtime/tvm_tiny_helium.c and more code, and each layer brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.schedules.instruction_order import reordered
from tvm_tiny.schedules.microkernel import MicroKernel, Registers
from tvm_tiny.schedules.planes import add

PIXELS, CHANNELS, CHUNK = 4, 4, 16  # of a tile, which is two times two pixels; of a group
UNROLLED_CHUNKS = 8  # more are a loop of `LOOPED_CHUNKS`
LOOPED_CHUNKS = 4
SUMS = (("r0", "r2", "r4", "r6"), ("r8", "r10", "r12", "lr"))
REGISTERS = Registers(
    words="r1",
    stream="r3",
    parameters="r9",
    y="r7",
    y1="r5",  # stores of parts of words want low registers
    count="r11",
    x0="q0",
    x1="q1",
    w="q2",
    total0="q3",
    total1="q4",
    parameter="q5",
    spare="q6",
    zero_point="q7",
)
# offsets on the stack
WORDS, STREAM, PARAMETERS, OUTPUT, HALVES, GROUPS, FRAME = 0, 4, 8, 12, 16, 20, 24
BIAS, MULTIPLIER, SHIFT, PARAMETER_BYTES = 0, 16, 32, 48


@dataclass(frozen=True)
class Tile:
    """Chunks of a window, groups of channels, bytes from pixel to pixel, and how sums are scaled.

    `way` is as in runtime/tvm_tiny_helium.h.
    """

    chunks: int
    groups: int
    pitch: int
    zero_point: int
    way: str

    @property
    def microkernel(self) -> MicroKernel:
        """Four pixels x all channels."""
        size = self.chunks * CHUNK
        plain = (
            f"int8_t pixel[{size}];",
            f"for (int32_t p = 0; p < {PIXELS}; ++p) {{",
            f"  for (int32_t k = 0; k < {size}; ++k) {{",
            f"    pixel[k] = chunks[(k / {CHUNK} * {PIXELS} + p) * {CHUNK} + k % {CHUNK}];",
            "  }",
            f"  tiny_helium_dense_{self.way}(pixel, weights, params, y + p * {self.pitch}, "
            f"{self.chunks}, {CHANNELS * self.groups},",
            f"                     {self.zero_point});",
            "}",
        )
        name = f"helium_{self.chunks}chunks_{self.groups}groups_by{self.pitch}"
        function = MicroKernel(
            f"{name}_{self.way}_at{self.zero_point}".replace("-", "m"),
            "const int8_t *chunks, const int8_t *weights, const int32_t *params, int8_t *y",
            f"{PIXELS} pixels x {CHANNELS * self.groups} channels from {self.chunks} chunks each.",
            self._assembly(),
            plain,
            needs_helium=True,
        )
        return reordered(function, "beats")

    def _assembly(self) -> tuple[str, ...]:
        body = [
            "push {r4-r11, lr}",
            "vpush {d8-d15}",
            f"sub sp, #{FRAME}",
            f"strd r0, r1, [sp, #{WORDS}]",
            f"strd r2, r3, [sp, #{PARAMETERS}]",
            f"mov r4, #{self.zero_point}",
            "vdup.16 zero_point, r4",
            f"mov r4, #{PIXELS // 2}",
            "/* two pixels */",
            "0:",
            f"str r4, [sp, #{HALVES}]",
            f"ldrd words, stream, [sp, #{WORDS}]",
            f"ldrd parameters, y, [sp, #{PARAMETERS}]",
            "mov y1, y",
            *add("y1", self.pitch),
            f"mov count, #{self.groups - 1}",
            "/* the first four channels */",
            *self._products([]),
            *self._other_groups(),
            "/* scale, narrow, store the last ones */",
            *self._finish(),
            *self._next_pixels(),
            f"add sp, #{FRAME}",
            "vpop {d8-d15}",
            "pop {r4-r11, pc}",
        ]
        return REGISTERS.wrap(body)

    def _other_groups(self) -> list[str]:
        if self.groups == 1:
            return []
        return [
            "/* the next four, while those before are scaled, narrowed, stored */",
            "1:",
            *self._products(self._finish()),
            "subs count, #1",
            "bne.w 1b",
        ]

    def _next_pixels(self) -> list[str]:
        return [
            f"ldr r0, [sp, #{WORDS}]",
            f"ldr r2, [sp, #{OUTPUT}]",
            f"ldr r4, [sp, #{HALVES}]",
            f"add r0, #{PIXELS // 2 * CHUNK}",
            *add("r2", PIXELS // 2 * self.pitch),
            f"str r0, [sp, #{WORDS}]",
            f"str r2, [sp, #{OUTPUT}]",
            "subs r4, #1",
            "bne.w 0b",
        ]

    def _products(self, beside: list[str]) -> list[str]:
        """Those of a group of channels; `beside` are lines that read the sums before."""
        straight = self.chunks
        if self.chunks > UNROLLED_CHUNKS:
            straight = (self.chunks - 1) % LOOPED_CHUNKS + 1
        lines = [*beside]
        for chunk in range(straight):
            lines += _chunk(is_first=chunk == 0)
        if self.chunks > straight:
            rounds = (self.chunks - straight) // LOOPED_CHUNKS
            lines += [f"str count, [sp, #{GROUPS}]", f"mov count, #{rounds}", "2:"]
            lines += [line for _ in range(LOOPED_CHUNKS) for line in _chunk(is_first=False)]
            lines += ["subs count, #1", "bne.w 2b", f"ldr count, [sp, #{GROUPS}]"]
        return lines + add("words", -PIXELS * CHUNK * self.chunks)

    def _finish(self) -> list[str]:
        """Sums of two pixels to int8 and to memory."""
        return [
            *_to_vectors(),
            *_SCALE[self.way](),
            *add("parameters", PARAMETER_BYTES),
            "vqmovnb.s32 total0, total0",
            "vqmovnt.s32 total0, total1",
            "vqadd.s16 total0, total0, zero_point",
            "vqmovnb.s16 total0, total0",
            "vstrb.32 total0, [y], #4",
            "vshr.u32 total0, total0, #16",
            "vstrb.32 total0, [y1], #4",
        ]


def _chunk(*, is_first: bool) -> list[str]:
    multiply = "vmladav.s8" if is_first else "vmladava.s8"
    lines = ["vldrb.8 x0, [words], #16", "vldrb.8 x1, [words], #48"]
    for first, second in zip(*SUMS, strict=True):
        lines += [
            "vldrb.8 w, [stream], #16",
            f"{multiply} {first}, x0, w",
            f"{multiply} {second}, x1, w",
        ]
    return lines


def _to_vectors() -> list[str]:
    lines = []
    for pixel, (a, b, c, d) in enumerate(SUMS):
        total = f"total{pixel}"
        lines += [f"vmov {total}[2], {total}[0], {a}, {c}"]
        lines += [f"vmov {total}[3], {total}[1], {b}, {d}"]
    return lines


def _load(offset: int, to: str = "parameter") -> str:
    return f"vldrw.32 {to}, [parameters, #{offset}]"


def _both(line: str) -> list[str]:
    """A line for each pixel, `total` in it being its sums."""
    return [line.replace("total", f"total{pixel}") for pixel in range(2)]


def _scale_relu() -> list[str]:
    return [
        _load(BIAS),
        *_both("vadd.i32 total, total, parameter"),
        _load(MULTIPLIER),
        *_both("vqrdmulh.s32 total, total, parameter"),
        _load(SHIFT),
        *_both("vrshl.s32 total, total, parameter"),
    ]


def _scale_half_up() -> list[str]:
    return [*_both("vshl.i32 total, total, #7"), *_scale_relu()]  # fraction bits


def _scale_away() -> list[str]:
    """The sign of a sum moves halves of negative numbers down."""
    lines = [_load(BIAS), *_both("vadd.i32 total, total, parameter"), _load(MULTIPLIER)]
    for pixel in range(2):
        total = f"total{pixel}"
        lines += [f"vshr.s32 spare, {total}, #31"]
        lines += [f"vqrdmulh.s32 {total}, {total}, parameter"]
        lines += [f"vadd.i32 {total}, {total}, spare"]
    return [*lines, _load(SHIFT), *_both("vrshl.s32 total, total, parameter")]


def _scale_any() -> list[str]:
    """Shifts to the left come first; only those to the right round away from zero."""
    lines = [_load(BIAS), *_both("vadd.i32 total, total, parameter"), _load(SHIFT)]
    lines += ["vshl.i32 spare, parameter, #17", "vshr.u32 spare, spare, #25"]
    lines += _both("vshl.s32 total, total, spare")
    for pixel in range(2):
        total = f"total{pixel}"
        lines += [
            _load(SHIFT),
            f"vand spare, {total}, parameter",
            "vshr.s32 spare, spare, #31",
            _load(MULTIPLIER),
            f"vqrdmulh.s32 {total}, {total}, parameter",
            f"vadd.i32 {total}, {total}, spare",
        ]
    return [*lines, _load(SHIFT), *_both("vrshl.s32 total, total, parameter")]


_SCALE = {
    "relu": _scale_relu,
    "half_up": _scale_half_up,
    "away": _scale_away,
    "any": _scale_any,
}
