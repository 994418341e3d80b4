"""An architecture as plain data: a stem, inverted residual blocks, a head.

`steps` spells it out operator by operator; everything else (graph, float module, int8 module) is
made from those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tvm_tiny.analysis.graph import (
    PIXEL,
    Graph,
    GraphBuilder,
    Layer,
    Tensor,
    Window,
    Writes,
)

IMAGE = -1  # the input of the first step


@dataclass(frozen=True)
class Block:
    """An inverted residual: expand (1x1), depthwise, project (1x1).

    Without `expanded` there is no expansion. Convolutions 1x1 have `groups`; the shuffle between
    them is an order of channels, which costs nothing and is left out.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    expanded: int = 0
    residual: bool = False
    groups: int = 1


@dataclass(frozen=True)
class Step:
    """One operator; `inputs` are earlier steps.

    `kind` is "conv2d", "add", "mean" (over all pixels) or "dense". Convolutions pad so that
    stride 1 keeps the size, have a batch norm, and are followed by ReLU6 if `activated`.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activated: bool = False


@dataclass(frozen=True)
class Architecture:
    """A net of inverted residual blocks for square images."""

    name: str
    resolution: int
    stem: int  # channels of a 3x3 convolution with stride 2
    blocks: tuple[Block, ...]
    head: int = 0  # channels of a 1x1 convolution behind the blocks; 0: none
    classes: int = 1000
    image_channels: int = 3

    def at(self, resolution: int) -> Architecture:
        """The same for images of another size."""
        return replace(self, resolution=resolution)

    def for_training(self, classes: int = 10, resolution: int = 128) -> Architecture:
        """The same without its last 1x1 convolution, as nets are published for training."""
        return replace(self, classes=classes, resolution=resolution, head=0)

    def steps(self) -> tuple[Step, ...]:
        """All operators in order."""
        return tuple(_Steps(self).steps)

    def convolutions(self, blocks: int) -> int:
        """How many convolutions the stem and the first `blocks` blocks have: a patch's split."""
        return 1 + sum(3 if block.expanded else 2 for block in self.blocks[:blocks])

    def graph(self, element_bytes: int = 1) -> Graph:
        """What analysis needs, without TVM."""
        return _graph(self, element_bytes)


@dataclass
class _Steps:
    """Appends the steps of an architecture; `channels` are those of the last one."""

    net: Architecture
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        net = self.net
        self.channels = net.image_channels
        self._convolution("stem", net.stem, kernel=3, stride=2)
        for number, block in enumerate(net.blocks):
            self._block(f"block{number}", block)
        if net.head:
            self._convolution("head", net.head)
        self._step("mean", "pool", net.head or self.channels)
        self._step("dense", "classifier", net.classes)

    def _block(self, name: str, block: Block) -> None:
        start = len(self.steps) - 1
        if block.expanded:
            self._convolution(f"{name}_expand", block.expanded, groups=block.groups)
        self._convolution(
            f"{name}_depthwise",
            self.channels,
            kernel=block.kernel,
            stride=block.stride,
            groups=self.channels,
        )
        self._convolution(f"{name}_project", block.channels, groups=block.groups, activated=False)
        if block.residual:
            last = len(self.steps) - 1
            self.steps.append(Step("add", f"{name}_add", (last, start), block.channels))

    def _convolution(
        self,
        name: str,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activated: bool = True,
    ) -> None:
        inputs = (len(self.steps) - 1,)
        self.steps.append(Step("conv2d", name, inputs, channels, kernel, stride, groups, activated))
        self.channels = channels

    def _step(self, kind: str, name: str, channels: int) -> None:
        self.steps.append(Step(kind, name, (len(self.steps) - 1,), channels))
        self.channels = channels


def walk(net: Architecture) -> Iterator[tuple[Step, tuple[int, int], int]]:
    """Every step with its output's (rows, columns) and its input's channels."""
    sizes = {IMAGE: (net.resolution, net.resolution)}
    channels = {IMAGE: net.image_channels}
    for index, step in enumerate(net.steps()):
        source = step.inputs[0]
        size = window_of(step).output_size(sizes[source])
        sizes[index] = size if step.kind in ("conv2d", "add") else (1, 1)
        channels[index] = step.channels
        yield step, sizes[index], channels[source]


def window_of(step: Step) -> Window:
    """The window of a convolution; of anything else a pixel."""
    if step.kind != "conv2d":
        return PIXEL
    border, kernel, stride = step.kernel // 2, step.kernel, step.stride
    return Window((kernel, kernel), (stride, stride), (border,) * 4)


def _graph(net: Architecture, element_bytes: int) -> Graph:
    builder = GraphBuilder()
    resolution = net.resolution
    tensors = {
        IMAGE: builder.input(
            Tensor("image", resolution, resolution, net.image_channels, element_bytes)
        )
    }
    for index, (step, size, depth) in enumerate(walk(net)):
        tensors[index] = builder.tensor(Tensor(step.name, *size, step.channels, element_bytes))
        inputs = tuple(tensors[source] for source in step.inputs)
        builder.layer(_layer(step, inputs, tensors[index], size[0] * size[1], depth))
    return builder.build([tensors[len(tensors) - 2]])


def _layer(step: Step, inputs: tuple[int, ...], output: int, pixels: int, depth: int) -> Layer:
    if step.kind == "conv2d":
        weights = step.channels * (depth // step.groups) * step.kernel**2
        is_depthwise = 1 < step.groups == depth == step.channels
        return Layer(
            "depthwise_conv2d" if is_depthwise else "conv2d",
            inputs,
            output,
            macs=pixels * weights,
            parameters=weights + 2 * step.channels,
            weights=weights,
            window=window_of(step),
            writes=Writes.BY_CHANNEL if is_depthwise else Writes.ANYHOW,
        )
    if step.kind == "add":
        return Layer("add", inputs, output, window=PIXEL, writes=Writes.BY_ELEMENT)
    if step.kind == "mean":
        return Layer("mean", inputs, output)
    weights = depth * step.channels
    return Layer("dense", inputs, output, weights, weights + step.channels, weights)
