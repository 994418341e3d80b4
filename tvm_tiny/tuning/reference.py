"""What a call must give: its numpy meaning on random inputs and on the ends of their types."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tvm_tiny.schedules.dialect import Array, Call, TensorSpec

KEPT_CALLS = 64
_FLOAT_SPREAD, _FLOAT_MOST = 4.0, 1e6


@dataclass(frozen=True, eq=False)
class Sample:
    """Run-time inputs of a call and the bytes of its output."""

    inputs: list[Array]
    output: bytes


class References:
    """Samples of calls; those of the latest calls are kept."""

    def __init__(self, seed: int = 0) -> None:
        """`seed` is that of the random inputs."""
        self.seed = seed
        self._kept: OrderedDict[int, tuple[Call, list[Sample]]] = OrderedDict()

    def samples(self, call: Call) -> list[Sample]:
        """The samples of a call: random, random ends, the least and the largest values."""
        kept = self._kept.get(id(call))
        if kept is None:
            kept = (call, list(_samples(call, np.random.default_rng(self.seed))))
            self._kept[id(call)] = kept  # with the call, whose id is its own as long as it lives
            if len(self._kept) > KEPT_CALLS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(id(call))
        return kept[1]


def _samples(call: Call, generator: np.random.Generator) -> Iterator[Sample]:
    fills: tuple[Callable[[TensorSpec], Array], ...] = (
        lambda spec: _random(spec, generator),
        lambda spec: generator.choice(_ends(spec), spec.shape).astype(spec.dtype),
        lambda spec: np.full(spec.shape, _ends(spec)[0], spec.dtype),
        lambda spec: np.full(spec.shape, _ends(spec)[1], spec.dtype),
    )
    for fill in fills:
        inputs = [fill(spec) for spec in call.inputs]
        given = iter(inputs)
        values = [a if isinstance(a, np.ndarray) else next(given) for a in call.arguments]
        output = call.operator.meaning(call.attributes, *values)
        yield Sample(inputs, np.ascontiguousarray(output, call.output.dtype).tobytes())


def _random(spec: TensorSpec, generator: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return (generator.standard_normal(spec.shape) * _FLOAT_SPREAD).astype(dtype)
    least, most = map(int, _ends(spec))
    return generator.integers(least, most, spec.shape, endpoint=True).astype(dtype)


def _ends(spec: TensorSpec) -> tuple[float, float]:
    """The least and the largest value."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return -_FLOAT_MOST, _FLOAT_MOST
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
