"""What analysis knows of a model: layers and sizes of tensors as plain data, no values.

A graph comes from a Relax module (`from_relax`) or from an architecture of the zoo, without TVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Writes(Enum):
    """In what order a layer writes, which tells what its output may lie over."""

    ANYHOW = "anyhow"  # only into memory of its own
    BY_CHANNEL = "by channel"  # a channel is done before the next is read: depthwise
    BY_ELEMENT = "by element"  # each element over the one that it comes from


@dataclass(frozen=True)
class Tensor:
    """A run-time tensor: an image of rows x columns pixels, or 1 x 1 pixel of all elements."""

    name: str
    rows: int
    columns: int
    channels: int
    element_bytes: int = 1

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.rows * self.columns * self.channels * self.element_bytes


@dataclass(frozen=True)
class Window:
    """How a layer moves over an image; pairs are (rows, columns), kernels are dilated already."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Output (rows, columns) of an input."""
        top, left, bottom, right = self.padding
        return (
            (size[0] + top + bottom - self.kernel[0]) // self.strides[0] + 1,
            (size[1] + left + right - self.kernel[1]) // self.strides[1] + 1,
        )


PIXEL = Window()


@dataclass(frozen=True)
class Layer:
    """One operator with what is fused into it; tensors are indices into the graph's list.

    `parameters` are all trained numbers, `weights` those that are multiplied. Without a `window`
    every element of the output needs the whole input.
    """

    operator: str
    inputs: tuple[int, ...]
    output: int
    macs: int = 0
    parameters: int = 0
    weights: int = 0
    window: Window | None = None
    writes: Writes = Writes.ANYHOW
    shares_nothing_with: tuple[int, ...] = ()  # inputs that the output may never lie over

    @property
    def is_convolution(self) -> bool:
        """Whether it counts in a patch's split."""
        return self.window is not None and self.macs > 0


@dataclass(frozen=True)
class Graph:
    """Tensors, and layers in the order they run."""

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def part(self, first: int, last: int) -> Graph:
        """Layers first <= i < last, with what they need from before and give to those behind."""
        layers = self.layers[first:last]
        made = {layer.output for layer in layers}
        used = [tensor for layer in self.layers[last:] for tensor in layer.inputs]
        passed = dict.fromkeys((*used, *self.outputs))
        read = dict.fromkeys(tensor for layer in layers for tensor in layer.inputs)
        return Graph(
            self.tensors,
            layers,
            tuple(tensor for tensor in read if tensor not in made),
            tuple(tensor for tensor in passed if tensor in made),
        )


@dataclass
class GraphBuilder:
    """Collects tensors and layers; methods return the index of a tensor."""

    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)

    def input(self, tensor: Tensor) -> int:
        """Add an input of the model."""
        index = self.tensor(tensor)
        self.inputs.append(index)
        return index

    def tensor(self, tensor: Tensor) -> int:
        """Add a tensor that a layer is going to write."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def layer(self, layer: Layer) -> int:
        """Add a layer."""
        self.layers.append(layer)
        return layer.output

    def build(self, outputs: Sequence[int]) -> Graph:
        """Return the graph."""
        return Graph(tuple(self.tensors), tuple(self.layers), tuple(self.inputs), tuple(outputs))
