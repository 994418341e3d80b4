"""Write a model's firmware as a project that builds without Python (microTVM's role)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from tvm_tiny.arrays import Array, Inputs, pack_inputs, random_inputs
from tvm_tiny.codegen.identifiers import c_comment, c_string
from tvm_tiny.firmware import Firmware
from tvm_tiny.metadata import PortInfo, hashes
from tvm_tiny.targets.project import Contents, Port, project_files, template
from tvm_tiny.version import VERSION

METADATA = "metadata.json"
_KINDS = {"i": "signed", "u": "unsigned", "b": "unsigned", "f": "float"}
_CTYPES = {"float32": "float", "float64": "double", "bool": "uint8_t"}


def write_project(
    firmware: Firmware,
    path: str | Path,
    template_name: str,
    inputs: Inputs | None = None,
    trains: bool = False,
) -> list[str]:
    """Write a project to the folder `path`; the names of its files.

    Its main function runs the first sample of `inputs`, or the random one that `run` uses; if the
    firmware `trains`, it takes some steps on it first.
    Raises TargetError for an unknown template, InputError for inputs that do not fit the model.
    """
    files = render_project(firmware, template_name, inputs, trains)
    for name, text in files.items():
        file = Path(path) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8", newline="\n")
    return list(files)


def render_project(
    firmware: Firmware, template_name: str, inputs: Inputs | None = None, trains: bool = False
) -> dict[str, str]:
    """The files of a project by path: the same text every time."""
    chosen = template(template_name)
    metadata = firmware.metadata
    # what the loss compares with and the rate are inputs of a step, its first output is the loss
    read = metadata.inputs[:-2] if trains else metadata.inputs
    contents = Contents(
        model=firmware.name,
        version=VERSION,
        files={**firmware.sources, METADATA: _metadata(firmware)},
        inputs=tuple(_inputs(read, inputs)),
        outputs=tuple(
            _port(port, index)
            for index, port in enumerate(metadata.outputs)
            if index > 0 or not trains
        ),
        sample_origin="random values of a fixed seed" if inputs is None else "given when generated",
        has_fast_arena=metadata.fast_arena_bytes > 0,
        trains=trains,
        has_class=trains and metadata.inputs[-2].dtype == "int32",
    )
    return project_files(chosen, firmware.target, contents)


def _metadata(firmware: Firmware) -> str:
    files = hashes({name: text.encode() for name, text in firmware.sources.items()})
    return msgspec.structs.replace(firmware.metadata, files=files).as_json().decode()


def _inputs(ports: tuple[PortInfo, ...], inputs: Inputs | None) -> Iterator[Port]:
    """The ports with the values of the first sample."""
    packed, _ = pack_inputs(ports, random_inputs(ports) if inputs is None else inputs)
    start = 0
    for index, port in enumerate(ports):
        dtype, count = np.dtype(port.dtype), int(np.prod(port.shape))
        values = np.frombuffer(packed, dtype, count, start)
        start += values.nbytes
        yield _port(port, index, _constants(values))


def _port(port: PortInfo, index: int, values: tuple[str, ...] = ()) -> Port:
    kind = np.dtype(port.dtype).kind
    shape = "x".join(map(str, port.shape)) or "1"
    quantised = f", real = {port.scale:g} * (value - {port.zero_point})" if port.scale else ""
    return Port(
        label=c_string(f"output {index} {port.name}:"),
        description=c_comment(f"{port.name}, {shape} {port.dtype}{quantised}"),
        ctype=_CTYPES.get(port.dtype, f"{port.dtype}_t"),
        kind=_KINDS[kind],
        values=values,
        index=index,
        is_by_rows=port.by_rows,
    )


def _constants(values: Array) -> tuple[str, ...]:
    """C constants that are exactly these values."""
    if values.dtype.kind == "f":
        return tuple(map(_float_constant, values.tolist()))
    return tuple(str(int(value)) for value in values)


def _float_constant(value: float) -> str:
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{value:#.9g}f"  # nine digits tell any two floats apart
