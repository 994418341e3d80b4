"""Arrays for a model's inputs and outputs: check, split into samples, pack to bytes and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tvm_tiny.errors import InputError
from tvm_tiny.metadata import PortInfo

Array = np.ndarray[Any, Any]
Inputs = Array | Sequence[Array] | Mapping[str, Array]
SEED = 0


def random_inputs(ports: Sequence[PortInfo], seed: int = SEED) -> list[Array]:
    """One sample: int8 over the whole range, floats between -1 and 1; the same every time."""
    generator = np.random.default_rng(seed)
    return [_random(generator, port) for port in ports]


def _random(generator: np.random.Generator, port: PortInfo) -> Array:
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f":
        return generator.uniform(-1, 1, port.shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return generator.integers(bounds.min, bounds.max, port.shape, dtype=dtype, endpoint=True)


def pack_inputs(ports: Sequence[PortInfo], inputs: Inputs) -> tuple[bytes, int]:
    """All samples' inputs one after the other, and how many samples there are.

    An array has its port's shape, or a leading axis that is a multiple of it: one sample each.
    Raises InputError naming the input.
    """
    arrays = _in_order(ports, inputs)
    columns = [_samples(port, array) for port, array in zip(ports, arrays, strict=True)]
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        raise InputError("inputs hold different numbers of samples", found=sorted(counts))
    count = counts.pop() if counts else 1
    return b"".join(column[i].tobytes() for i in range(count) for column in columns), count


def unpack_outputs(ports: Sequence[PortInfo], data: bytes, samples: int) -> list[Array]:
    """One array per output, samples along the first axis."""
    sizes = [int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize for port in ports]
    rows = np.frombuffer(data, np.uint8).reshape(samples, sum(sizes))
    starts = np.cumsum([0, *sizes])
    return [
        _stack(port, np.ascontiguousarray(rows[:, start : start + size]))
        for port, start, size in zip(ports, starts, sizes, strict=False)
    ]


def _stack(port: PortInfo, rows: Array) -> Array:
    values = rows.view(port.dtype)
    shape = port.shape or (1,)
    return values.reshape(len(rows) * shape[0], *shape[1:])


def _in_order(ports: Sequence[PortInfo], inputs: Inputs) -> list[Array]:
    if isinstance(inputs, np.ndarray):
        inputs = [inputs]
    if isinstance(inputs, Mapping):
        names = [port.name for port in ports]
        if set(inputs) != set(names):
            raise InputError("wrong input names", limit=names, found=sorted(inputs))
        inputs = [inputs[name] for name in names]
    if len(inputs) != len(ports):
        raise InputError("wrong number of inputs", limit=len(ports), found=len(inputs))
    return [np.asarray(array) for array in inputs]


def _samples(port: PortInfo, array: Array) -> Array:
    where = f"input {port.name}"
    if array.dtype != np.dtype(port.dtype):
        raise InputError(
            "wrong dtype",
            where=where,
            limit=port.dtype,
            found=str(array.dtype),
            hint=f"convert it: array.astype({port.dtype!r})",
        )
    shape = port.shape or (1,)
    if array.shape == shape[1:] and shape[0] == 1:
        array = array[np.newaxis]
    fits = array.shape[1:] == shape[1:] and array.ndim == len(shape)
    if not fits or array.size == 0 or len(array) % shape[0]:
        raise InputError(
            "wrong shape",
            where=where,
            limit=port.shape,
            found=array.shape,
            hint="the first axis may hold several samples",
        )
    return np.ascontiguousarray(array).reshape(len(array) // shape[0], *shape)
