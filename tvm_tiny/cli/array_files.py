"""Arrays in .npy and .npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvm_tiny.arrays import Array, Inputs
from tvm_tiny.errors import InputError
from tvm_tiny.metadata import PortInfo
from tvm_tiny.result import RunResult


def read_inputs(path: Path, ports: Sequence[PortInfo]) -> Inputs:
    """An array, or one per input by name; raises InputError for a file that is neither."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return [loaded]
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            "not a .npy or .npz file of plain arrays", where=str(path), hint=str(error)
        ) from error
    unnamed = [f"arr_{index}" for index in range(len(ports))]  # numpy.savez(file, x, y)
    return list(arrays.values()) if sorted(arrays) == sorted(unnamed) else arrays


def write_outputs(path: Path, result: RunResult) -> None:
    """Output 0 to a .npy, all outputs by name to an .npz: the same bytes every time."""
    if path.suffix == ".npy":
        np.save(path, result.output)
        return
    with zipfile.ZipFile(path, "w") as archive:  # numpy.savez cannot write every name
        for name, array in unique_names(result).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def unique_names(result: RunResult) -> dict[str, Array]:
    """The outputs by name; a name that is taken gets the number of its output."""
    named: dict[str, Array] = {}
    for index, (port, array) in enumerate(zip(result.output_ports, result.outputs, strict=True)):
        name = port.name or f"output_{index}"
        named[f"{name}_{index}" if name in named else name] = array
    return named
