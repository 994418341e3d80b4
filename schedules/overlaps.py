"""How a kernel's output may lie over an input that it reads for the last time.

A kernel is a list of steps in the order in which they run. A step reads bytes of the input, the
first of them at `reads`, and then writes bytes of the output, the last of them before `ends`. With
the output `shift` bytes behind the input, what steps have written ends at the largest of their
`ends` plus `shift`. If that is never beyond the first byte that a later step reads, no byte is
written before it has been read, and that holds for every smaller shift too. So the largest shift is
the least distance, over all steps, from what is written to what is still to be read.

What a kernel loads but does not use does not count: the rest of a word, columns of a patch that
no window reaches.
"""

from __future__ import annotations

import numpy as np

from tvm_tiny.schedules.dialect import Array, Overlap, TensorSpec
from tvm_tiny.schedules.window import WindowAttributes

NEVER = 1 << 60  # first byte of what is not read at all


def sweep(reads: Array, ends: Array, data: TensorSpec, output: TensorSpec) -> Overlap | None:
    """The overlap of steps; None where it would not save a byte."""
    unread = np.minimum.accumulate(reads[::-1])[::-1]
    written = np.maximum.accumulate(ends)
    # from the input's end on, there is nothing to lie over
    shift = int(np.min(unread[1:] - written[:-1], initial=data.nbytes))
    return Overlap(shift) if shift > -output.nbytes else None


def elements(data: TensorSpec, output: TensorSpec, sources: Array | None = None) -> Overlap | None:
    """Elements of the output in order, each of one of the input's: `sources`, or the same."""
    each = np.arange(output.elements)
    read, written = (np.dtype(spec.dtype).itemsize for spec in (data, output))
    return sweep((each if sources is None else sources) * read, (each + 1) * written, data, output)


def tiles(
    reads: Array,
    pixels: Array,
    data: TensorSpec,
    output: TensorSpec,
    last: int = 0,
    skipped: int = 0,
) -> Overlap | None:
    """Tiles (steps, n) of output pixels, whose first bytes of the input are `reads`.

    A kernel may write a part of a tile while it still reads the input for the rest: the `last`
    bytes are those that it writes when all is read, 0 stands for all of them. By then it is past
    the first `skipped` bytes of what it reads for the tile.
    """
    size = output.nbytes // len(reads)
    begins, ends = reads[pixels].min(axis=1), (pixels.max(axis=1) + 1) * size
    if 0 < last < size:
        begins = np.stack([begins, begins + skipped], axis=1).reshape(-1)
        ends = np.stack([ends - last, ends], axis=1).reshape(-1)
    return sweep(begins, ends, data, output)


def blocks(data: TensorSpec, output: TensorSpec, starts: Array) -> Overlap | None:
    """Equal parts of the input copied to where the output's bytes `starts` are, front to back.

    All of the output before a part is written before it.
    """
    size = data.nbytes // len(starts)
    reads = np.arange(0, data.nbytes, size)
    begins = np.stack([np.full(len(starts), NEVER), reads, reads + size - 1], axis=1)
    ends = np.stack([starts, starts + size - 1, starts + size], axis=1)
    return sweep(begins.reshape(-1), ends.reshape(-1), data, output)


def windows(
    attrs: WindowAttributes,
    data: TensorSpec,
    output: TensorSpec,
    kernel: tuple[int, int],
    pixels: Array,
    last: int = 0,
    skipped: int = 0,
) -> Overlap | None:
    """`tiles` of an NHWC output whose pixels read windows of the input."""
    return tiles(first_bytes(attrs, data, output, kernel), pixels, data, output, last, skipped)


def first_bytes(
    attrs: WindowAttributes, data: TensorSpec, output: TensorSpec, kernel: tuple[int, int]
) -> Array:
    """For each pixel of an NHWC output, the first byte that its window reads inside the image."""
    batch, height, width, channels = data.shape
    axes = zip(output.shape[1:3], (height, width), kernel, range(2), strict=True)
    rows, columns = (_first_taps(attrs, *axis) for axis in axes)
    images = np.arange(batch) * height
    pixel = (images[:, None, None] + rows[:, None]) * width + columns
    is_outside = (rows[:, None] >= NEVER) | (columns >= NEVER)
    return np.where(is_outside, NEVER, pixel * channels).reshape(-1)


def _first_taps(attrs: WindowAttributes, size: int, size_in: int, kernel: int, axis: int) -> Array:
    """Where the first tap inside the image lies, for each output along an axis."""
    taps = np.arange(kernel) * attrs.dilation[axis] - attrs.padding[axis]
    places = np.arange(size)[:, None] * attrs.strides[axis] + taps
    is_inside = (places >= 0) & (places < size_in)
    return np.where(is_inside, places, NEVER).min(axis=1)


def in_rows(output: TensorSpec, count: int) -> Array:
    """Tiles of `count` pixels along each row of an NHWC output; the last may have fewer."""
    width = output.shape[2]
    columns = tile_of(width, count)
    rows = np.arange(output.elements // output.shape[3] // width) * width
    return (rows[:, None, None] + columns).reshape(-1, columns.shape[1])


def in_rectangles(output: TensorSpec, count: int, columns: Array) -> Array:
    """Tiles of `count` rows x `columns` (strips, n) of an NHWC output; the last rows move back."""
    batch, height, width, _ = output.shape
    rows = tile_of(height, count, moves_back=True)
    of_image = rows[:, None, :, None] * width + columns[:, None, :]
    images = np.arange(batch)[:, None, None] * (height * width)
    return (images + of_image.reshape(len(rows) * len(columns), -1)).reshape(
        -1, rows.shape[1] * columns.shape[1]
    )


def tile_of(pixels: int, count: int, *, moves_back: bool = False) -> Array:
    """Tiles (steps, n) of `count` pixels; the last one is smaller, or repeats some of them."""
    first = np.arange(0, pixels, count)
    if moves_back:
        first = np.minimum(first, max(pixels - count, 0))
    return np.minimum(first[:, None] + np.arange(min(count, pixels)), pixels - 1)


def in_place(last_reads: Array, first_writes: Array) -> Overlap | None:
    """Kernels that take a channel of NHWC, or several, at a time: only exactly over each other.

    An output's bytes then are those of the same channels, and those of others are never hit. For
    pixels of the input, `last_reads` is the step at which one channel is read, for those of the
    output `first_writes` the step at which it is written, after that step's reading.
    """
    both = min(len(last_reads), len(first_writes))
    is_safe = np.all(last_reads[:both] <= first_writes[:both])
    return Overlap(is_exact=True) if is_safe else None


def by_channel(data: TensorSpec, output: TensorSpec) -> Overlap | None:
    """Kernels that read a channel of an image whole before they write it."""
    steps = (np.repeat(np.arange(spec.shape[0]), _pixels(spec)) for spec in (data, output))
    return in_place(*steps) if data.shape[3] == output.shape[3] else None


def _pixels(spec: TensorSpec) -> int:
    return spec.shape[1] * spec.shape[2]
