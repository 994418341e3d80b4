"""Take a model apart, so that each operator can be tested on its own inputs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support import tflm
from tests.support.tflite_writer import MISSING, Model, Operator, Tensor, read, write

Array = npt.NDArray[Any]

# how far from the zero point the random inputs of an operator go, in int8 levels
AMPLITUDES = (255, 128, 64, 32, 16, 8, 4, 2, 1)
FLOAT_DEVIATION = 1.0  # of float inputs with no range to go by, at amplitude 255


def activation_inputs(model: Model, operator: Operator) -> list[int]:
    """Return the operator's operands that are computed at run time, in their order."""
    return [
        index for index in operator.inputs if index != MISSING and model.tensors[index].data is None
    ]


def explode(model_bytes: bytes, operators: Sequence[int] | None = None) -> bytes:
    """Return a model in which each chosen operator stands alone (all of them by default).

    The inputs are those of the first operator, then those of the second and so on, constants
    left out; the outputs follow the same order. Shapes, types and quantisation stay.
    """
    model = read(model_bytes)
    chosen = range(len(model.operators)) if operators is None else operators
    exploded = _Exploded([], [], [], [])
    for number in chosen:
        exploded.add(model, number)
    return write(exploded.finish())


@dataclass(frozen=True)
class _Exploded:
    """A model under construction."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]

    def add(self, model: Model, number: int) -> None:
        operator = model.operators[number]
        inputs = tuple(self._operand(model, number, index) for index in operator.inputs)
        outputs = tuple(self._copy(model.tensors[i], f"@{number}") for i in operator.outputs)
        self.outputs.extend(outputs)
        self.operators.append(replace(operator, inputs=inputs, outputs=outputs))

    def _operand(self, model: Model, number: int, index: int) -> int:
        if index == MISSING:
            return MISSING
        tensor = model.tensors[index]
        if tensor.data is not None:
            return self._copy(tensor, "")
        self.inputs.append(self._copy(tensor, f"@{number}.{len(self.inputs)}"))
        return self.inputs[-1]

    def _copy(self, tensor: Tensor, suffix: str) -> int:
        self.tensors.append(replace(tensor, name=tensor.name + suffix))
        return len(self.tensors) - 1

    def finish(self) -> Model:
        fields = (self.tensors, self.operators, self.inputs, self.outputs)
        return Model(*(tuple(field) for field in fields))  # type: ignore[arg-type]


def layer_inputs(model_bytes: bytes, seed: int = 0) -> list[Array]:
    """Return random inputs of an exploded model that leave few of its outputs saturated.

    Full-range noise saturates most outputs of a trained layer and so hides wrong sums. Each
    operator gets the amplitude, out of a few, with which it shows most different values.
    """
    model = read(model_bytes)
    generator = np.random.default_rng(seed)
    candidates = [
        [_random_input(model, index, amplitude, generator) for index in model.inputs]
        for amplitude in AMPLITUDES
    ]
    results = tflm.run(model_bytes, candidates)
    chosen: list[Array] = []
    for number, operator in enumerate(model.operators):
        scores = [_score(result[number]) for result in results]
        count = len(activation_inputs(model, operator))
        chosen += candidates[int(np.argmax(scores))][len(chosen) : len(chosen) + count]
    return chosen


def _score(output: Array) -> float:
    """Return how many different values an output has, less the share that is saturated."""
    if output.dtype != np.int8:
        return len(np.unique(output))
    inside = output[(output > -128) & (output < 127)]
    return float(len(np.unique(inside)) * inside.size / output.size)


def _random_input(
    model: Model, index: int, amplitude: int, generator: np.random.Generator
) -> Array:
    tensor = model.tensors[index]
    if tensor.dtype == "int8":
        low, high = _levels(tensor.zero_point, amplitude)
        return generator.integers(low, high, tensor.shape, np.int8, endpoint=True)
    if tensor.dtype == "float32":
        return _random_float(model, index, amplitude, generator)
    raise ValueError(f"no random values for tensor {tensor.name!r} of type {tensor.dtype}")


def _levels(zero_point: int, amplitude: int) -> tuple[int, int]:
    return max(-128, zero_point - amplitude), min(127, zero_point + amplitude)


def _random_float(
    model: Model, index: int, amplitude: int, generator: np.random.Generator
) -> Array:
    reader = next(operator for operator in model.operators if index in operator.inputs)
    shape = model.tensors[index].shape
    if reader.builtin != "QUANTIZE":
        deviation = FLOAT_DEVIATION * amplitude / max(AMPLITUDES)
        return generator.normal(0, deviation, shape).astype(np.float32)
    output = model.tensors[reader.outputs[0]]
    low, high = (
        (level - output.zero_point) * output.scales[0]
        for level in _levels(output.zero_point, amplitude)
    )
    return generator.uniform(low, high, shape).astype(np.float32)
