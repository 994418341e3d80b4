"""What analysis must know of Relax's operators: multiply-accumulates, windows, what is fused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_tiny.analysis.graph import PIXEL, Layer, Window, Writes

Shape = tuple[int, ...]

VIEWS = frozenset(f"relax.{name}" for name in ("reshape", "flatten", "squeeze", "expand_dims"))
ELEMENTWISE = frozenset(
    f"relax.{name}"
    for name in (
        *("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"),
        *("quantize", "clip", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "negative"),
        *("abs", "square", "erf", "floor", "ceil", "round", "sign", "sin", "cos", "astype"),
        *("nn.relu", "nn.relu6", "nn.leakyrelu", "nn.prelu", "nn.gelu", "nn.gelu_tanh", "nn.silu"),
        *("nn.selu", "nn.softplus", "nn.batch_norm", "nn.dropout"),
    )
)
NOT_TRAINED = {"relax.nn.batch_norm": slice(3, 5)}  # running mean and variance


@dataclass
class Operator:
    """A layer before its tensors have numbers; fusing adds to its parameters."""

    name: str
    macs: int = 0
    parameters: int = 0
    weights: int = 0
    window: Window | None = None
    writes: Writes = Writes.ANYHOW
    layout: str = ""

    def layer(self, inputs: tuple[int, ...], output: int) -> Layer:
        """The layer of a graph."""
        return Layer(
            self.name,
            inputs,
            output,
            self.macs,
            self.parameters,
            self.weights,
            self.window,
            self.writes,
        )


@dataclass(frozen=True)
class Argument:
    """An argument's shape, and the trained numbers in it (0 if it is a run-time tensor)."""

    shape: Shape
    parameters: int


def operator_of(call: Any, name: str, arguments: Sequence[Argument], output: Shape) -> Operator:
    """What a call is; operators that are not in the table only take memory."""
    made = _TABLE.get(name)
    if made is not None:
        return made(call, arguments, output)
    parameters = sum(argument.parameters for argument in arguments if argument.parameters > 1)
    short = name.split(".")[-1]
    if name in ELEMENTWISE or short in ("qadd", "qmul", "lookup", "requantize"):
        return Operator(short, 0, parameters, window=PIXEL, writes=Writes.BY_ELEMENT)
    return Operator(short, 0, parameters)


def padded(window: Window, layout: str, widths: Sequence[tuple[int, int]]) -> Window | None:
    """The window on the tensor without its border; None where the border is not one of pixels."""
    sides = dict(zip(layout, widths, strict=False))
    if len(widths) != 4 or any(sides.get("N", (1, 1))) or any(sides.get("C", (1, 1))):
        return None
    (top, bottom), (left, right) = sides["H"], sides["W"]
    border = (top, left, bottom, right)
    padding = tuple(own + more for own, more in zip(window.padding, border, strict=True))
    return Window(window.kernel, window.strides, padding)  # type: ignore[arg-type]


def _window(attrs: Any, kernel: tuple[int, int]) -> Window:
    strides, dilation = _pair(attrs.strides), _pair(attrs.dilation)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    return Window((reach[0], reach[1]), strides, _four_sides(attrs.padding))


def _pair(values: Any) -> tuple[int, int]:
    numbers = [int(value) for value in values]
    return numbers[0], numbers[-1]


def _four_sides(values: Any) -> tuple[int, int, int, int]:
    sides = [int(value) for value in values]
    sides = sides * (4 // len(sides))
    return sides[0], sides[1], sides[2], sides[3]


def _conv2d(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    attrs, (data, weight) = call.attrs, arguments[:2]
    layout = str(attrs.data_layout)
    taps = dict(zip(str(attrs.kernel_layout), weight.shape, strict=True))
    channels = dict(zip(layout, data.shape, strict=True))["C"]
    return _convolution(
        _window(attrs, (taps["H"], taps["W"])),
        layout,
        weight,
        math.prod(output) // taps["O"] * math.prod(weight.shape),
        1 < int(attrs.groups) == channels == taps["O"],
    )


def _convolution(
    window: Window, layout: str, weight: Argument, macs: int, is_depthwise: bool
) -> Operator:
    return Operator(
        "depthwise_conv2d" if is_depthwise else "conv2d",
        macs,
        weight.parameters,
        weight.parameters,
        window,
        Writes.BY_CHANNEL if is_depthwise else Writes.ANYHOW,
        layout,
    )


def _conv2d_transpose(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    """Counted at input positions: each meets every weight of its channel."""
    data, weight = arguments[:2]
    layout = str(call.attrs.data_layout)
    channels = dict(zip(layout, data.shape, strict=True))["C"]
    macs = math.prod(data.shape) // channels * math.prod(weight.shape)
    return Operator("conv2d_transpose", macs, weight.parameters, weight.parameters, layout=layout)


def _conv1d(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    weight = arguments[1]
    channels = weight.shape[str(call.attrs.kernel_layout).index("O")]
    macs = math.prod(output) // channels * math.prod(weight.shape)
    return Operator("conv1d", macs, weight.parameters, weight.parameters)


def _matmul(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    parameters = sum(argument.parameters for argument in arguments)
    macs = math.prod(output) * arguments[0].shape[-1]
    return Operator("dense", macs, parameters, parameters)


def _pool2d(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    window = _window(call.attrs, _pair(call.attrs.pool_size))
    name = call.op.name.split(".")[-1]
    return Operator(name, window=window, layout=str(call.attrs.layout))


# --- the integer dialect: NHWC, weights in a kernel's own order -----------------------------------


def _qconv2d(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    weight, bias = arguments[1:3]
    channels, height, width, _ = weight.shape
    macs = math.prod(output) // channels * math.prod(weight.shape)
    made = _convolution(_window(call.attrs, (height, width)), "NHWC", weight, macs, False)
    made.parameters += bias.parameters
    return made


def _qdepthwise(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    data, weight, bias = arguments[:3]
    height, width, channels = weight.shape
    macs = math.prod(output) * height * width
    window = _window(call.attrs, (height, width))
    made = _convolution(window, "NHWC", weight, macs, data.shape[-1] == channels)
    made.name = "depthwise_conv2d"
    made.parameters += bias.parameters
    return made


def _qdense(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    made = _matmul(call, (arguments[0], arguments[1]), output)
    made.parameters += arguments[2].parameters
    return made


def _qpool2d(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    window = _window(call.attrs, _pair(call.attrs["size"]))
    return Operator(call.op.name.split(".q")[-1], window=window, layout="NHWC")


def _qadd(call: Any, arguments: Sequence[Argument], output: Shape) -> Operator:
    return Operator("add", window=PIXEL, writes=Writes.BY_ELEMENT)


_TABLE: dict[str, Callable[[Any, Sequence[Argument], Shape], Operator]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.nn.conv2d_transpose": _conv2d_transpose,
    "relax.nn.conv1d": _conv1d,
    "relax.matmul": _matmul,
    "relax.nn.max_pool2d": _pool2d,
    "relax.nn.avg_pool2d": _pool2d,
    "tiny.qconv2d": _qconv2d,
    "tiny.qdepthwise_conv2d": _qdepthwise,
    "tiny.qdense": _qdense,
    "tiny.qmax_pool2d": _qpool2d,
    "tiny.qavg_pool2d": _qpool2d,
    "tiny.qadd": _qadd,
}
