"""Graphs for tests: small ones by hand and random ones."""

from __future__ import annotations

import numpy as np

from tvm_tiny.analysis.graph import (
    PIXEL,
    Graph,
    GraphBuilder,
    Layer,
    Tensor,
    Window,
    Writes,
)


def image(builder: GraphBuilder, size: tuple[int, int] = (8, 8), channels: int = 4) -> int:
    """Add an input."""
    return builder.input(Tensor("image", *size, channels))


def convolution(builder: GraphBuilder, source: int, channels: int, window: Window = PIXEL) -> int:
    """Add a convolution; as many channels as before make it depthwise, if the window is larger."""
    given = builder.tensors[source]
    size = window.output_size((given.rows, given.columns))
    is_depthwise = window.kernel != (1, 1) and channels == given.channels
    weights = channels * window.kernel[0] * window.kernel[1]
    weights *= 1 if is_depthwise else given.channels
    output = builder.tensor(Tensor(f"t{len(builder.tensors)}", *size, channels))
    return builder.layer(
        Layer(
            "depthwise_conv2d" if is_depthwise else "conv2d",
            (source,),
            output,
            size[0] * size[1] * weights,
            weights,
            weights,
            window,
            Writes.BY_CHANNEL if is_depthwise else Writes.ANYHOW,
        )
    )


def add(builder: GraphBuilder, left: int, right: int) -> int:
    """Add an addition."""
    given = builder.tensors[left]
    size = (given.rows, given.columns, given.channels)
    output = builder.tensor(Tensor(f"t{len(builder.tensors)}", *size))
    return builder.layer(
        Layer("add", (left, right), output, window=PIXEL, writes=Writes.BY_ELEMENT)
    )


def square(kernel: int, stride: int = 1, padding: int | None = None) -> Window:
    """Return a square window; without `padding` stride 1 keeps the size."""
    border = kernel // 2 if padding is None else padding
    return Window((kernel, kernel), (stride, stride), (border,) * 4)


def random_graph(seed: int) -> Graph:
    """Return a chain of random convolutions, some of them with a residual around."""
    generator = np.random.default_rng(seed)
    builder = GraphBuilder()
    height, width = (int(size) for size in generator.integers(9, 26, 2))
    last = image(builder, (height, width), 3)
    for _ in range(int(generator.integers(2, 6))):
        kernels = tuple(int(k) for k in generator.choice([1, 2, 3, 5], 2))
        strides = tuple(min(k, int(generator.choice([1, 1, 2]))) for k in kernels)  # no gaps
        padding = tuple(int(p) for p in generator.integers(0, 2, 4))
        given = builder.tensors[last]
        if min(given.rows, given.columns) < 6:
            break
        last = convolution(builder, last, 4, Window(kernels, strides, padding))  # type: ignore[arg-type]
        if generator.random() < 0.5:
            inner = convolution(builder, last, 8)
            inner = convolution(builder, inner, 8, square(3))
            last = add(builder, convolution(builder, inner, 4), last)
    return builder.build([last])
