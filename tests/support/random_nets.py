"""Small networks with branches, strides, residuals and several outputs, drawn at random.

`random_net(seed)` is the same on every run. Numbers mean nothing: scales are such that activations
spread over int8, and zero points are what they are. Sizes are odd as often as not, channels too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_tiny.relay_passes.program import Layer, Port, Program, Tensor
from tvm_tiny.schedules import numerics, qadd, qmul
from tvm_tiny.schedules.candidates import candidates
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import Argument, Array, Attributes, Call, Operator, TensorSpec
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.qavg_pool2d import QAVG_POOL2D, QPool2DAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qdepthwise_conv2d import QDEPTHWISE_CONV2D, QDepthwiseConv2DAttributes
from tvm_tiny.schedules.qmax_pool2d import QMAX_POOL2D

Pair = tuple[int, int]

LARGEST, MOST_CHANNELS = 19, 12  # of images
SMALLEST = 4  # rows and columns that are cut any further
OUTPUT_LEVELS = 40  # standard deviation of most outputs
KERNELS = (1, 1, 2, 3, 3, 3, 4, 5, 6, 7)
CHANNELS = (1, 2, 3, 4, 4, 5, 7, 8, 8, 12)


@dataclass(frozen=True)
class Node:
    """A layer, and which values it reads; value 0 is the input, value i + 1 made by node i."""

    call: Call
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """A network; `outputs` are numbers of values."""

    input: TensorSpec
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]


def random_net(seed: int, channels: Sequence[int] = CHANNELS) -> Net:
    """Return a network of four to some dozen layers, with so many channels as one of `channels`."""
    growing = _Growing(np.random.default_rng(seed), channels)
    growing.begin()
    value, blocks = 0, growing.between(2, 4)
    for _ in range(blocks):
        value = growing.one_of(BLOCKS)(growing, value)
    return growing.net()


def program_of_nets(nets: Sequence[Net], features: Collection[str] = ()) -> Program:
    """Return a program of nets side by side: the layers of each in a row, in their order.

    No kernel is made: layers have their fastest candidate, which may turn out not to be able.
    """
    tensors: list[Tensor] = []
    layers: list[Layer] = []
    inputs: list[Port] = []
    outputs: list[Port] = []
    for index, net in enumerate(nets):
        names = [f"x{index}", *(f"n{index}_{i}" for i in range(len(net.nodes)))]
        specs = [net.input, *(node.call.output for node in net.nodes)]
        tensors += [Tensor(n, spec, n) for n, spec in zip(names, specs, strict=True)]
        inputs.append(Port(names[0], names[0], None, None))
        outputs += [Port(names[i], names[i], None, None) for i in net.outputs]
        for node, name in zip(net.nodes, names[1:], strict=True):
            found = tuple(candidates(node.call, features))
            read = tuple(names[i] for i in node.inputs)
            operator = node.call.operator.name.removeprefix("tiny.")
            macs = node.call.macs
            layers.append(
                Layer(name, operator, read, name, found[0], macs, 0, found, call=node.call)
            )
    return Program(tuple(tensors), tuple(layers), tuple(inputs), tuple(outputs))


def with_kernels(program: Program) -> Program:
    """Return the program with candidates that are able."""
    able = [next(c for c in layer.candidates if c.kernel) for layer in program.layers]
    return program.with_kernels(able)


def evaluate(net: Net, data: Array) -> list[Array]:
    """Return the outputs by the operators' meaning."""
    values = [data]
    for node in net.nodes:
        given = iter(values[number] for number in node.inputs)
        arguments = [
            next(given) if isinstance(argument, TensorSpec) else argument
            for argument in node.call.arguments
        ]
        values.append(node.call.operator.meaning(node.call.attributes, *arguments))
    return [values[number] for number in net.outputs]


@dataclass
class _Growing:
    """A network while layers are added to it."""

    generator: np.random.Generator
    channels: Sequence[int]
    values: list[TensorSpec] = field(default_factory=list)
    zero_points: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    # --- draws ---

    def one_of(self, values: Any) -> Any:
        return values[int(self.generator.integers(len(values)))]

    def chance(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def between(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def zero_point(self) -> int:
        return int(self.one_of((-128, 0, 127, self.between(-128, 127))))

    # --- growth ---

    def begin(self) -> None:
        size = (self.between(7, LARGEST), self.between(7, LARGEST))
        self.values.append(TensorSpec((1, *size, self.one_of(self.channels)), "int8"))
        self.zero_points.append(self.zero_point())

    def net(self) -> Net:
        """Return the network; what nobody reads is an output, and sometimes one value more."""
        read = {number for node in self.nodes for number in node.inputs}
        outputs = [number for number in range(1, len(self.values)) if number not in read]
        if self.chance(0.25):
            outputs.append(self.between(1, len(self.values) - 1))
        return Net(self.values[0], tuple(self.nodes), tuple(sorted(set(outputs))))

    def add(
        self,
        operator: Operator,
        attributes: Attributes,
        inputs: Sequence[int],
        constants: Sequence[Array] = (),
        zero_point: int = 0,
    ) -> int:
        """Add a layer; return the number of its value."""
        arguments: list[Argument] = [*(self.values[number] for number in inputs), *constants]
        call = Call(operator, attributes, tuple(arguments))
        self.nodes.append(Node(call, tuple(inputs)))
        self.values.append(call.output)
        self.zero_points.append(zero_point)
        return len(self.values) - 1

    def geometry(self, size: Pair, is_same: bool) -> tuple[Pair, dict[str, Any]]:
        """Return a window, its strides, padding and dilation; the same size if so wished."""
        window: list[int] = []
        strides: list[int] = []
        around: list[Pair] = []
        side = int(self.one_of(KERNELS))
        for extent in size:
            taps = side if self.chance(0.7) else int(self.one_of(KERNELS))
            style = "same" if is_same else self.one_of(("same", "same", "valid", "any"))
            if style == "valid":
                taps = min(taps, max(extent - 2, 1))
            before, after = self.padding(taps, style)
            window.append(taps)
            around.append((before, max(after, taps - before - extent)))
            wide = not is_same and extent > SMALLEST
            strides.append(int(self.one_of((1, 1, 2, 2, 3))) if wide else 1)
        if self.chance(0.7) and min(size) > SMALLEST:
            strides = [min(strides)] * 2
        (top, bottom), (left, right) = around
        fields = {"strides": tuple(strides), "padding": (top, left, bottom, right)}
        return (window[0], window[1]), {**fields, "dilation": (1, 1)}

    def padding(self, taps: int, style: str) -> Pair:
        """Return what stands before and behind an axis: for windows of any size, on either side."""
        if style == "valid":
            return 0, 0
        if style == "same":
            before = (taps - 1) // 2 if self.chance(0.7) else taps // 2
            return before, taps - 1 - before
        return self.between(0, taps - 1), self.between(0, taps - 1)

    def linear(
        self, number: int, shape: tuple[int, ...], axis: int
    ) -> tuple[dict[str, Any], list[Array]]:
        """Return requantisation fields, and weights, bias, multipliers and shifts."""
        weight = self.generator.integers(-127, 128, shape, np.int8)
        rows = np.moveaxis(weight, axis, 0).reshape(shape[axis], -1).astype(np.float64)
        deviation = 1 + 75 * np.sqrt((rows**2).sum(axis=1))
        spread = self.generator.uniform(0.7, 1.4, len(rows))
        multiplier, shift = numerics.quantize_multiplier(OUTPUT_LEVELS * spread / deviation)
        bias = self.generator.normal(0, deviation.mean(), len(rows)).astype(np.int32)
        # now and then windows see something else outside than other readers of the same image
        is_odd = self.chance(0.1)
        point = self.zero_point()
        low = point if self.chance(0.3) else -128
        fields = {
            "input_zero_point": self.zero_point() if is_odd else self.zero_points[number],
            "output_zero_point": point,
            "clamp_min": low,
            "clamp_max": 127,
        }
        return fields, [weight, bias, multiplier, shift.astype(np.int32)]

    # --- layers: each takes a value's number and gives another ---

    def size(self, number: int) -> Pair:
        shape = self.values[number].shape
        return shape[1], shape[2]

    def depth(self, number: int) -> int:
        return self.values[number].shape[3]

    def convolution(self, number: int, is_same: bool = False, channels: int = 0) -> int:
        window, geometry = self.geometry(self.size(number), is_same)
        depth, made = self.depth(number), channels or int(self.one_of(self.channels))
        groups = depth if depth > 1 and made % depth == 0 and self.chance(0.1) else 1
        fields, constants = self.linear(number, (made, *window, depth // groups), 0)
        attrs = QConv2DAttributes(**geometry, **fields, groups=groups)
        return self.add(QCONV2D, attrs, [number], constants, attrs.output_zero_point)

    def depthwise(self, number: int, is_same: bool = False) -> int:
        window, geometry = self.geometry(self.size(number), is_same)
        fields, constants = self.linear(number, (*window, self.depth(number)), 2)
        attrs = QDepthwiseConv2DAttributes(**geometry, **fields)
        return self.add(QDEPTHWISE_CONV2D, attrs, [number], constants, attrs.output_zero_point)

    def pool(self, number: int, is_same: bool = False) -> int:
        window, geometry = self.geometry(self.size(number), is_same)
        kind = self.one_of((QMAX_POOL2D, QAVG_POOL2D))
        if kind is QAVG_POOL2D and not is_same:
            window = (min(window[0], self.size(number)[0]), min(window[1], self.size(number)[1]))
            geometry["padding"] = (0, 0, 0, 0)
        elif kind is QAVG_POOL2D:
            kind = QMAX_POOL2D
        attrs = QPool2DAttributes(**geometry, size=window, clamp_min=-128, clamp_max=127)
        return self.add(kind, attrs, [number], (), self.zero_points[number])

    def lookup(self, number: int, is_same: bool = False) -> int:
        table = self.generator.integers(-128, 128, 256).astype(np.int8)
        return self.add(LOOKUP, LookupAttributes("table"), [number], [table], self.zero_point())

    def join(self, a: int, b: int) -> int:
        """Return two values of the same shape added or multiplied."""
        point = self.zero_point()
        points = (self.zero_points[a], self.zero_points[b], point)
        if self.chance(0.8):
            return self.add(
                qadd.QADD, qadd.attributes((0.1, 0.08, 0.12), points), [a, b], (), point
            )
        return self.add(qmul.QMUL, qmul.attributes((0.1, 0.08, 0.7), points), [a, b], (), point)

    def layer(self, number: int, is_same: bool = False) -> int:
        kinds = (self.convolution, self.convolution, self.depthwise, self.pool, self.lookup)
        return int(self.one_of(kinds)(number, is_same=is_same))


def _chain(growing: _Growing, number: int) -> int:
    for _ in range(growing.between(1, 3)):
        number = growing.layer(number)
    return number


def _residual(growing: _Growing, number: int) -> int:
    """Layers that keep the size, and their input added to the result."""
    end = number
    for _ in range(growing.between(0, 2)):
        end = growing.layer(end, is_same=True)
    end = growing.convolution(end, is_same=True, channels=growing.depth(number))
    return growing.join(*((end, number) if growing.chance(0.5) else (number, end)))


def _branches(growing: _Growing, number: int) -> int:
    """Two or three branches side by side."""
    start, ends = growing.layer(number), []
    for _ in range(growing.between(2, 3)):
        end = start
        for _ in range(growing.between(0, 2)):
            end = growing.layer(end, is_same=True)
        ends.append(end)
    ends = list(dict.fromkeys(ends))
    if len(ends) == 1:
        return ends[0]
    return growing.add(CONCAT, ConcatAttributes(3), ends, (), growing.zero_points[ends[0]])


def _fork(growing: _Growing, number: int) -> int:
    """A branch that ends as an output of its own."""
    growing.layer(number)
    return growing.layer(number)


Block = Callable[[_Growing, int], int]
BLOCKS: tuple[Block, ...] = (_chain, _chain, _residual, _residual, _branches, _fork)
