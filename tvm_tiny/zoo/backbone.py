"""int8 backbones as published for training on devices: an .npz of weights, biases and scales.

Its keys are paths: `first_conv`, then `blocks/N` with `pointwise1`, `depthwise`, `pointwise2` and
`residual`. What a block has not is an object array there; those are never read, so that nothing is
unpickled.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_tiny.errors import ModelError

Array = np.ndarray[Any, Any]
HINT = "give the .npz of an int8 backbone: first_conv, blocks/N/pointwise1, depthwise, pointwise2"
PARTS = (("pointwise1", "expand"), ("depthwise", "depthwise"), ("pointwise2", "project"))
PRECISION = 1e-5  # to which scales of one tensor agree


@dataclass(frozen=True)
class Scale:
    """real = scale * (integer - zero_point)."""

    scale: float
    zero_point: int

    def is_close(self, other: Scale) -> bool:
        """Whether both mean the same."""
        return self.zero_point == other.zero_point and bool(
            np.isclose(self.scale, other.scale, rtol=PRECISION, atol=0)
        )


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with its numbers; `weight` is OIHW."""

    name: str
    weight: Array
    bias: Array
    weight_scales: Array
    input: Scale
    output: Scale
    stride: int
    groups: int

    @property
    def depth(self) -> int:
        """Channels of its input."""
        return int(self.weight.shape[1]) * self.groups


@dataclass(frozen=True, eq=False)
class Inverted:
    """An inverted residual block; `output` is the scale behind its shortcut, if it has one."""

    convolutions: tuple[Convolution, ...]
    name: str
    output: Scale | None


@dataclass(frozen=True, eq=False)
class Backbone:
    """All convolutions before the pool."""

    stem: Convolution
    blocks: tuple[Inverted, ...]

    @property
    def output(self) -> Scale:
        """Of what is pooled."""
        last = self.blocks[-1]
        return last.output or last.convolutions[-1].output

    @property
    def channels(self) -> int:
        """Of what is pooled."""
        return len(self.blocks[-1].convolutions[-1].weight)


def read_backbone(path: str | Path) -> Backbone:
    """Read a published file; its classifier is left out. Raises ModelError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            reader = _Reader(file)
            numbers = {int(m[1]) for m in map(re.compile(r"blocks/(\d+)/").match, file.files) if m}
            stem = reader.convolution("first_conv", "stem")
            blocks = tuple(reader.block(number) for number in range(len(numbers)))
        if not blocks:
            raise ValueError("it has no blocks")
        _check_chain(stem, blocks)
    # what numpy raises for files of other kinds is not documented
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"not an int8 backbone: {error}", where=str(path), hint=HINT) from error
    return Backbone(stem, blocks)


class _Reader:
    """Takes the arrays of a file apart."""

    def __init__(self, file: Any) -> None:
        self.file, self.names = file, set(file.files)

    def block(self, number: int) -> Inverted:
        at, name = f"blocks/{number}", f"block{number}"
        made = tuple(
            self.convolution(f"{at}/{part}", f"{name}_{called}")
            for part, called in PARTS
            if f"{at}/{part}/params/weight" in self.names
        )
        if not made:
            raise ValueError(f"{at} has no convolutions")
        has_shortcut = f"{at}/residual/params/y_scale" in self.names
        return Inverted(made, name, self._scale(f"{at}/residual", "y") if has_shortcut else None)

    def convolution(self, at: str, name: str) -> Convolution:
        weight = self._array(f"{at}/params/weight", np.int8, 4)
        made = Convolution(
            name,
            weight,
            self._array(f"{at}/params/bias", np.int32, 1),
            self._array(f"{at}/params/w_scales", np.float32, 1),
            self._scale(at, "x"),
            self._scale(at, "y"),
            int(self._array(f"{at}/stride", np.int64, 0)),
            int(self._array(f"{at}/groups", np.int64, 0)),
        )
        channels, _, height, width = weight.shape
        if made.bias.shape != (channels,) or made.weight_scales.shape != (channels,):
            raise ValueError(f"{at} has {channels} channels, but not as many biases and scales")
        if height != width or height % 2 == 0:
            raise ValueError(f"{at} has a window of {height}x{width}: not square and odd")
        if made.stride < 1 or made.groups < 1 or channels % made.groups:
            raise ValueError(f"{at} has stride {made.stride} and {made.groups} groups")
        if not np.all(np.isfinite(made.weight_scales) & (made.weight_scales > 0)):
            raise ValueError(f"{at}/params/w_scales are not all positive")
        return made

    def _scale(self, at: str, side: str) -> Scale:
        scale = float(self._array(f"{at}/params/{side}_scale", np.float64, 0))
        zero_point = int(self._array(f"{at}/params/{side}_zero", np.int64, 0))
        if not (np.isfinite(scale) and scale > 0 and -128 <= zero_point <= 127):
            raise ValueError(f"{at} has the {side}_scale {scale} and {side}_zero {zero_point}")
        return Scale(scale, zero_point)

    def _array(self, name: str, dtype: Any, rank: int) -> Array:
        if name not in self.names:
            raise ValueError(f"it lacks {name}")
        array: Array = self.file[name]
        if array.dtype != dtype or array.ndim != rank or 0 in array.shape:
            found = f"{array.dtype}{list(array.shape)}"
            raise ValueError(f"{name} is {found}, not {np.dtype(dtype)} of rank {rank}")
        return array


def _check_chain(stem: Convolution, blocks: tuple[Inverted, ...]) -> None:
    """Each convolution takes what the one before gives."""
    scale, channels = stem.output, len(stem.weight)
    for block in blocks:
        entry = channels
        for convolution in block.convolutions:
            if not convolution.input.is_close(scale) or convolution.depth != channels:
                raise ValueError(f"{convolution.name} does not take what the layer before gives")
            scale, channels = convolution.output, len(convolution.weight)
        if block.output is not None and (channels != entry or _strides(block) != 1):
            raise ValueError(f"{block.name} has a shortcut between different shapes")
        scale = block.output or scale


def _strides(block: Inverted) -> int:
    return int(np.prod([convolution.stride for convolution in block.convolutions]))
