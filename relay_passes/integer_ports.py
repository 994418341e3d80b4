"""Float inputs that are quantised at once, and outputs dequantised at last, as int8 ports.

What stands at the ends of many converted models is work that a camera or an application need not
ask for: the port carries the scale and zero point instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvm_tiny.relay_passes.program import Layer, Port, Program


def integer_ports(program: Program) -> Program:
    """The program without layers that only quantise an input or dequantise an output."""
    removed: set[str] = set()  # outputs of layers
    inputs = [_input(program, port, removed) for port in program.inputs]
    outputs = [_output(program, port, removed) for port in program.outputs]
    steps = [step for step in program.steps if step.output not in removed]
    gone = {
        *(p.tensor for p, new in zip(program.inputs, inputs, strict=True) if p != new),
        *(p.tensor for p, new in zip(program.outputs, outputs, strict=True) if p != new),
        *(step.scratch for step in program.steps if step.output in removed and step.scratch),
    }
    return replace(
        program,
        tensors=tuple(tensor for tensor in program.tensors if tensor.name not in gone),
        steps=tuple(steps),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _input(program: Program, port: Port, removed: set[str]) -> Port:
    readers = [step for step in program.steps if port.tensor in step.inputs]
    layer = _only(readers, "quantize")
    if layer is None or _is_shared(program, port.tensor):
        return port
    removed.add(layer.output)
    return _quantised(port, layer, layer.output)


def _output(program: Program, port: Port, removed: set[str]) -> Port:
    makers = [step for step in program.steps if step.output == port.tensor]
    readers = [step for step in program.steps if port.tensor in step.inputs]
    layer = _only(makers, "dequantize")
    if layer is None or readers or _is_shared(program, port.tensor):
        return port
    removed.add(layer.output)
    return _quantised(port, layer, layer.inputs[0])


def _only(steps: Sequence[Any], operator: str) -> Layer | None:
    found = steps[0] if len(steps) == 1 else None
    return found if isinstance(found, Layer) and found.operator == operator else None


def _is_shared(program: Program, name: str) -> bool:
    """Whether a tensor has or is a view, or is several ports."""
    views = [t for t in program.tensors if t.storage != t.name and name in (t.name, t.storage)]
    ports = [p for p in (*program.inputs, *program.outputs) if p.tensor == name]
    return bool(views) or len(ports) > 1


def _quantised(port: Port, layer: Layer, tensor: str) -> Port:
    assert layer.call is not None
    attributes: Any = layer.call.attributes
    return replace(port, tensor=tensor, scale=attributes.scale, zero_point=attributes.zero_point)
