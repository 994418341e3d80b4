"""A float Relax module of an architecture; its weights are parameters, so that none need exist."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from tvm_tiny.zoo.architecture import IMAGE, Architecture, Step, walk, window_of


def float_module(net: Architecture) -> tvm.IRModule:
    """Return `main(image, *weights)`, NHWC, as it is trained: with batch norms.

    `num_input` tells that only the first parameter is an input;
    `relax.transform.BindParams` makes constants of the others.
    """
    maker = _Maker(net)
    builder = relax.BlockBuilder()
    attributes = {
        "num_input": 1,
        "tiny.source": "relax",
        "tiny.input_names": ["image"],
        "tiny.output_names": ["logits"],
    }
    steps = list(walk(net))
    for index, (step, _, depth) in enumerate(steps):
        maker.declare(index, step, depth)
    with builder.function("main", [maker.image, *maker.weights], attrs=attributes):
        with builder.dataflow():
            values: dict[int, Any] = {IMAGE: maker.image}
            for index, (step, _, depth) in enumerate(steps):
                inputs = [values[source] for source in step.inputs]
                values[index] = maker.emit(builder, index, step, inputs, depth)
            result = builder.emit_output(values[len(steps) - 1])
        builder.emit_func_output(result)
    return builder.finalize()


class _Maker:
    """Declares each step's weights and emits its operators."""

    def __init__(self, net: Architecture) -> None:
        shape = (1, net.resolution, net.resolution, net.image_channels)
        self.image = _tensor("image", *shape)
        self.weights: list[Any] = []
        self.own: dict[int, list[Any]] = {}

    def declare(self, index: int, step: Step, depth: int) -> None:
        if step.kind == "conv2d":
            shape = kernel_shape(step, depth)
            norms = ("scale", "offset", "mean", "variance")
            own = [_tensor(f"{step.name}_weight", *shape)]
            own += [_tensor(f"{step.name}_{norm}", step.channels) for norm in norms]
        elif step.kind == "dense":
            own = [_tensor(f"{step.name}_weight", depth, step.channels)]
            own.append(_tensor(f"{step.name}_bias", step.channels))
        else:
            own = []
        self.own[index] = own
        self.weights += own

    def emit(
        self, builder: relax.BlockBuilder, index: int, step: Step, inputs: list[Any], depth: int
    ) -> Any:
        own = self.own[index]
        if step.kind == "conv2d":
            summed = builder.emit(convolution(step, inputs[0], own[0], depth))
            normed = builder.emit(relax.op.nn.batch_norm(summed, *own[1:], axis=3))
            value = relax.TupleGetItem(normed, 0)
            if not step.activated:
                return builder.emit(value, step.name)
            return builder.emit(relax.op.clip(builder.emit(value), 0, 6), step.name)
        if step.kind == "dense":
            product = builder.emit(relax.op.matmul(inputs[0], own[0]))
            return builder.emit(relax.op.add(product, own[1]), step.name)
        return builder.emit(simple(step, inputs), step.name)


def _tensor(name: str, *shape: int) -> relax.Var:
    return relax.Var(name, relax.TensorType(shape, "float32"))


def kernel_shape(step: Step, depth: int) -> tuple[int, int, int, int]:
    """HWIO, or HWOI of a depthwise convolution, as the importers have it."""
    size, inputs = step.kernel, depth // step.groups
    is_depthwise = step.groups == depth
    return (
        (size, size, step.channels, inputs) if is_depthwise else (size, size, inputs, step.channels)
    )


def convolution(step: Step, data: Any, weight: Any, depth: int) -> Any:
    """The call of a convolution without its bias."""
    window = window_of(step)
    return relax.op.nn.conv2d(
        data,
        weight,
        strides=list(window.strides),
        padding=list(window.padding),
        groups=step.groups,
        data_layout="NHWC",
        kernel_layout="HWOI" if step.groups == depth else "HWIO",
    )


def simple(step: Step, inputs: list[Any]) -> Any:
    """The call of an operator without weights."""
    if step.kind == "add":
        return relax.op.add(*inputs)
    return relax.op.mean(inputs[0], axis=[1, 2])
