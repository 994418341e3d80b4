"""Other loops of the same kernels: more or fewer pairs, pixels or outputs at a time.

Only what makes other code is a form. All compute the same sums from the same constants, so results
are equal by construction; how much a form gains depends on sizes and on the core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tvm_tiny.schedules.dialect import Array, Attributes, Options, TensorSpec
from tvm_tiny.schedules.pair_tiles import UNROLLED_PAIRS
from tvm_tiny.schedules.tiled_conv import PIXELS, Geometry

if TYPE_CHECKING:
    from tvm_tiny.schedules.qconv2d import QConv2DAttributes

UNROLL = "unroll"  # pairs of a loop
TILE = "pixels"  # of a tile of convolutions
_UNROLLS, _TILES = (8, 32), (2, 3)


def unrolls(pairs: int) -> list[Options]:
    """Loops of so many pairs, where that is another code than the usual one's."""
    found: list[Options] = []
    for count in _UNROLLS:
        if pairs > min(count, UNROLLED_PAIRS):
            found.append({UNROLL: count})
    return found


def of_squares(attrs: Attributes, data: TensorSpec, *rest: Any) -> list[Options]:
    """Forms of Winograd's kernel of 3x3."""
    return unrolls(2 * -(-data.shape[3] // 4))


def of_lines(attrs: Attributes, data: TensorSpec, weight: Array, *rest: Any) -> list[Options]:
    """Forms of Winograd's kernel along rows."""
    return unrolls(2 * -(-data.shape[3] // 4) * weight.shape[1])


def of_tiles(infer: Callable[..., TensorSpec]) -> Callable[..., list[Options]]:
    """Forms of the kernels of tiled_conv.py on pairs; `infer` gives a call's output."""

    def options(
        attrs: QConv2DAttributes, data: TensorSpec, weight: Array, *rest: Any
    ) -> list[Options]:
        geometry = Geometry(attrs, data, infer(attrs, data, weight), weight.shape[1:])
        tiles: Iterable[int] = (n for n in _TILES if n < min(PIXELS, geometry.row_pixels))
        return [*unrolls(geometry.window.pairs), *({TILE: n} for n in tiles)]

    return options
