"""What a kernel costs: instructions by the table of costs.toml, bytes of Flash from the kernel.

A row of the table says how many instructions a variant takes for each unit of a call's work: for a
multiply-accumulate, an output, an element of a window... `benchmarks/costs.py` fits the rows to
exact counts and writes the table. Flash is a set of pieces, so that what kernels share counts once.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec
import numpy as np
import tvm_ffi
from tvm import ir, tirx

from tvm_tiny.schedules import winograd_strips
from tvm_tiny.schedules.dialect import (
    Argument,
    Attributes,
    Call,
    Kernel,
    TensorSpec,
    call_of,
)
from tvm_tiny.schedules.microkernel import MicroKernel
from tvm_tiny.schedules.window import WindowAttributes

BYTES_OF_INSTRUCTION = 3.8  # of micro-kernels: few of their instructions have a short form

Pieces = Mapping[Hashable, int]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant of an operator.

    `instructions` are those for a unit of work, by the unit's name; `windows` have the same for
    windows that are measured apart. `cycles` are those for an instruction, by the core's cycle
    model, `code_bytes` is the size of the loops around its micro-kernels.
    """

    instructions: dict[str, float]
    windows: dict[str, dict[str, float]] = {}
    cycles: dict[str, float] = {}
    code_bytes: int = 0


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Code of all firmware: start-up and library, a layer's call, loops without a row."""

    base_bytes: int
    layer_bytes: int
    loops_bytes: int


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of costs.toml: `functions` are sizes in bytes, each with all that it calls."""

    image: Image
    functions: dict[str, int]
    variants: dict[str, dict[str, Row]]

    def row(self, operator: str, variant: str) -> Row | None:
        """The row of a variant, if it was ever measured."""
        return self.variants.get(operator.removeprefix("tiny."), {}).get(variant)


@cache
def table() -> Table:
    """The table, read once."""
    return msgspec.toml.decode(files(__package__).joinpath("costs.toml").read_bytes(), type=Table)


@dataclass(frozen=True)
class Work:
    """What a call has to do: its windows, such as 3x3s2, and how much of each unit."""

    window: str
    units: Mapping[str, float]


def work_of(call: ir.Call | Call) -> Work:
    """How much of each unit a call has, by the names that the table's rows use.

    Convolutions take pixels in tiles of two or four (of a row, where windows are wider than a
    pixel), and a tile reads all weights once: `weights_by_4` are those reads. `windows` are
    elements of all windows, vectors are 16 of them and octets 8 channels. `odd_` stands for what
    happens where pixels are no whole words, `wide_` where windows are wider than a pixel, `border_`
    in tiles that reach over the border, `square_` and `line_` in Winograd's tiles of 2 x 2 and of
    1 x 2 outputs.
    """
    call = call_of(call).seen_by_kernels
    attrs, arguments, read = call.attributes, call.arguments, call.inputs
    output, macs = call.output, call.macs
    inputs = sum(spec.elements for spec in read)
    channels, depth = (spec.shape[-1] if spec.shape else 1 for spec in (output, read[0]))
    pixels = max(output.elements // channels, 1)
    windows = macs // channels
    # where each input meets each channel once, all pixels follow each other in memory
    is_wide = macs != inputs * channels
    width = output.shape[-2] if is_wide and len(output.shape) > 1 else pixels
    rows, twos = pixels // width, -(-pixels // 2)
    fours, odd, group = rows * -(-width // 4), depth % 4 > 0, 8 if pixels == 1 else 4
    whole_channels = -(-channels // group) * group
    sliding = _Sliding.of(attrs, read[0], output, arguments)
    units = {
        "calls": 1,
        "inputs": inputs,
        "outputs": output.elements,
        "channels": channels,
        "rows": rows * channels,
        "macs": macs,
        "inner_macs": macs * sliding.inner_taps,
        "taps": is_wide * macs / depth,
        "windows": windows,
        "wide_windows": is_wide * windows,
        "odd_windows": odd * windows,
        "border_windows": sliding.border_tiles * windows,
        "tiles_by_2": twos,
        "odd_tiles_by_2": odd * twos,
        "channels_by_2": twos * whole_channels,
        "weights_by_2": twos * whole_channels * windows / pixels,
        "odd_weights_by_2": pixels % 2 * whole_channels * windows / 2,
        "tiles_by_4": fours,
        "channels_by_4": fours * channels,
        "weights_by_4": fours * macs / pixels,
        "window_vectors": output.elements * -(-windows // (16 * pixels)),
        "octets": -(-channels // 8),
        "row_octets": rows * -(-channels // 8),
        "tile_octets": fours * -(-channels // 8),
        **_winograd(output, depth, sliding.rows),
    }
    return Work(sliding.kind, units)


def _winograd(output: TensorSpec, depth: int, taps: int) -> dict[str, float]:
    """Units of Winograd's tiles of 2 x 2 outputs, and of 1 x 2 from windows of `taps` rows."""
    rows, width, channels = (1, 1, 1, *output.shape)[-3:]
    depth, channels = -(-depth // 4) * 4, -(-channels // 2) * 2
    strips = winograd_strips.row_of(width).strips
    tiles, products = sum(s.tiles for s in strips), sum(s.products for s in strips)
    units: dict[str, float] = {}
    for kind, count, inputs in (("square", -(-rows // 2), depth), ("line", rows, depth * taps)):
        units |= {
            f"{kind}_strip_inputs": count * len(strips) * inputs,
            f"{kind}_inputs": count * (tiles + len(strips)) * inputs,
            f"{kind}_strip_outputs": count * len(strips) * channels,
            f"{kind}_outputs": count * (tiles + len(strips)) * channels,
            f"{kind}_products": count * products * channels * inputs,
        }
    return units


@dataclass(frozen=True)
class _Sliding:
    """Windows: their size, and the parts of taps and of tiles inside and over the border."""

    kind: str = ""  # such as 3x3s2
    inner_taps: float = 1.0
    border_tiles: float = 0.0
    rows: int = 1  # of a window

    @staticmethod
    def of(
        attrs: Attributes, data: TensorSpec, output: TensorSpec, arguments: Sequence[Argument]
    ) -> _Sliding:
        """Those of an operator that has windows and weights; none of any other."""
        weights = [a.shape for a in arguments if isinstance(a, np.ndarray) and a.ndim > 2]
        if not isinstance(attrs, WindowAttributes) or not weights:
            return _Sliding()
        taps, inner, tiles = weights[0][-3:-1] if len(weights[0]) > 3 else weights[0][:2], 1.0, 1.0
        for axis, tile in enumerate((1, 4)):
            begins = np.arange(output.shape[axis + 1]) * attrs.strides[axis] - attrs.padding[axis]
            offsets = np.arange(taps[axis]) * attrs.dilation[axis]
            places = begins[:, None] + offsets
            inside = (places >= 0) & (places < data.shape[axis + 1])
            inner *= inside.mean()
            whole = inside.all(axis=1)
            tiles *= np.mean([whole[i : i + tile].all() for i in range(0, len(whole), tile)])
        kind = f"{taps[0]}x{taps[1]}" + (f"s{attrs.strides[1]}" if attrs.strides[1] > 1 else "")
        return _Sliding(kind, float(inner), float(1 - tiles), taps[0])


def instructions(row: Row, work: Work) -> int:
    """What a row predicts for a call's work."""
    coefficients = row.windows.get(work.window, row.instructions)
    return round(sum(each * work.units[unit] for unit, each in coefficients.items()))


def pieces_of(operator: str, variant: str, kernel: Kernel) -> Pieces:
    """What a kernel brings into the Flash, by what makes it equal to that of others."""
    row = table().row(operator, variant)
    loops = row.code_bytes if row else table().image.loops_bytes
    made = {function.name: _assembled_bytes(function) for function in kernel.microkernels}
    pieces: dict[Hashable, int] = {tvm_ffi.structural_hash(kernel.function): loops}
    sizes = {**table().functions, **made}
    # loops of no iterations name functions that are not made, and bring nothing
    pieces |= {name: sizes[name] for name in _called(kernel.function) if name in sizes}
    for _, values in kernel.constants:
        pieces[values.dtype.str, np.ascontiguousarray(values).tobytes()] = (
            -(-values.nbytes // 4) * 4
        )
    return pieces


def flash_bytes(kernels: Iterable[Pieces]) -> int:
    """All Flash of firmware of these layers."""
    union: dict[Hashable, int] = {}
    count = 0
    for pieces in kernels:
        union.update(pieces)
        count += 1
    image = table().image
    return image.base_bytes + count * image.layer_bytes + sum(union.values())


def _assembled_bytes(function: MicroKernel) -> int:
    lines = [line for line in function.assembly if ".req" not in line and ":" not in line]
    return round(BYTES_OF_INSTRUCTION * len([line for line in lines if ".unreq" not in line]))


def _called(function: tirx.PrimFunc) -> set[str]:
    """Names of the C functions that a kernel's loops call; TVM has no visitor of TIR in Python."""
    return set(re.findall(r'call_extern\("\w+", "(\w+)"', function.script()))
