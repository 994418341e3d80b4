"""The training firmware's own C code on this machine: the same steps, the same bits."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvm_tiny.errors import TrainingError
from tvm_tiny.metadata import Metadata, PortInfo
from tvm_tiny.targets.host_library import build_library

Array = np.ndarray[Any, Any]
CONTEXT_BYTES = 1024  # more than any context has
ALIGNMENT = 64
IMAGE_HEADER_BYTES = 32


class HostTwin:
    """A model in this process: memory of its own, and the functions of its C code."""

    def __init__(self, sources: dict[str, str], metadata: Metadata, state_bytes: int) -> None:
        """Compile the sources and initialise the model."""
        self.metadata, self.state_bytes = metadata, state_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="tvm_tiny-host-")
        path = build_library(sources, metadata.name, Path(self._folder.name))
        self._library = ctypes.CDLL(str(path))
        self._context = ctypes.create_string_buffer(CONTEXT_BYTES)
        self._arena, self._state = _block(metadata.arena_bytes), _block(state_bytes)
        for name in ("input", "output"):
            self._function(name).restype = ctypes.c_void_p
        arena, state = self._arena.ctypes, self._state.ctypes
        self._call(
            "init",
            ctypes.c_void_p(arena.data),
            ctypes.c_size_t(self._arena.size),
            ctypes.c_void_p(state.data),
            ctypes.c_size_t(self._state.size),
        )
        self._input_ports = metadata.inputs[:-2]
        self._output_ports = metadata.outputs[1:]

    @property
    def state(self) -> Array:
        """All trained weights as bytes; writing into it changes the model."""
        return self._state

    def reset(self) -> None:
        """Weights as they were built."""
        self._call("reset")

    def predict(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs for one sample, by an inference."""
        self._write(inputs)
        self._call("run")
        return self._outputs()

    def train_step(self, inputs: Sequence[Array], target: Array | int, rate: float) -> float:
        """The loss on one sample, and a step against it. Raises TrainingError."""
        self._write(inputs)
        loss = ctypes.c_float()
        values = np.asarray(target, self.metadata.inputs[-2].dtype)
        by_value = values.size == 1 and values.dtype == np.int32
        passed = (
            ctypes.c_int32(int(values.reshape(-1)[0]))
            if by_value
            else ctypes.c_void_p(np.ascontiguousarray(values).ctypes.data)
        )
        self._call("train_step", passed, ctypes.c_float(rate), ctypes.byref(loss))
        return loss.value

    def export_weights(self) -> bytes:
        """The trained weights as the image that the firmware exports."""
        image = np.zeros(IMAGE_HEADER_BYTES + self.state_bytes, np.uint8)
        address = ctypes.c_void_p(image.ctypes.data)
        self._call("export_weights", address, ctypes.c_size_t(image.size))
        return image.tobytes()

    def import_weights(self, image: bytes) -> None:
        """Take over what `export_weights` gave. Raises TrainingError, and changes nothing then."""
        given = np.frombuffer(image, np.uint8)
        address = ctypes.c_void_p(given.ctypes.data)
        self._call("import_weights", address, ctypes.c_size_t(given.size))

    def _write(self, inputs: Sequence[Array]) -> None:
        for number, (port, values) in enumerate(zip(self._input_ports, inputs, strict=True)):
            _copy(self._port("input", number, port), values)

    def _outputs(self) -> list[Array]:
        ports = enumerate(self._output_ports, 1)
        return [self._port("output", number, port).copy() for number, port in ports]

    def _port(self, kind: str, number: int, port: PortInfo) -> Array:
        address = self._function(kind)(self._context, ctypes.c_uint(number))
        shape, dtype = port.shape or (1,), np.dtype(port.dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        return (
            np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
            .view(dtype)
            .reshape(shape)
        )

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self.metadata.name}_{name}")

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._function(name)(self._context, *arguments)
        if code != 0:
            raise TrainingError(
                _MEANINGS.get(code, f"{self.metadata.name}_{name} ended with code {code}"),
                where=name,
                found=code,
            )


_MEANINGS = {
    8: "the learning rate is not a finite number",
    9: "the loss is not a finite number; no weight was changed",
    12: "this is no image of weights",
    13: "the image is of another version of the format",
    14: "the image is of another model",
    15: "the image is truncated, or of another size",
    16: "the image is damaged",
}


def _block(size: int) -> Array:
    """Aligned memory."""
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def _copy(port: Array, values: Array) -> None:
    port[...] = np.asarray(values, port.dtype).reshape(port.shape)
