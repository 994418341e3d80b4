"""Model files and objects to Relax, quantised as QDQ (see the architecture's contract)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import tvm

from tvm_tiny.errors import MissingExtraError, ModelError
from tvm_tiny.importers.from_onnx import from_onnx, parse_onnx
from tvm_tiny.importers.from_relax import from_relax
from tvm_tiny.importers.from_tflite import from_tflite
from tvm_tiny.importers.tflite_reader import IDENTIFIER

__all__ = ["load"]

KINDS = "a TFLite file, an ONNX model, a PyTorch .pt2 program or a Relax module"
ZIP_START = b"PK\x03\x04"


def load(model: object) -> tvm.IRModule:
    """Import a model: a path, a file's bytes, or an ONNX, PyTorch or Relax object.

    The kind of a file is told by its content. A symbolic batch dimension becomes 1; all other
    shapes must be static. Anything wrong raises a `TinyError` that lists every problem found.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        return _load_bytes(_read(path), str(path), path.parent)
    if isinstance(model, bytes | bytearray | memoryview):
        return _load_bytes(bytes(model), "the model", None)
    if isinstance(model, onnx.ModelProto):
        return from_onnx(model)
    if isinstance(model, tvm.IRModule):
        return from_relax(model)
    if type(model).__name__ == "ExportedProgram":
        return _torch().from_torch(model)
    raise ModelError(
        f"a {type(model).__name__} is not a model", hint=f"give {KINDS}, or the path of one"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        hint = "give the path of a model file" if path.is_dir() else "check the path"
        raise ModelError(
            f"cannot read the model: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            hint=hint,
        ) from error


def _load_bytes(data: bytes, where: str, folder: Path | None) -> tvm.IRModule:
    if not data:
        raise ModelError("the file is empty", where=where, hint=f"give {KINDS}")
    if data[4:8] == IDENTIFIER:
        return from_tflite(data)
    if data.startswith(ZIP_START):
        importer = _torch()
        return importer.from_torch(importer.parse_torch(data))
    if _looks_like_onnx(data):
        return from_onnx(parse_onnx(data, folder))
    raise ModelError("the kind of the file is not known", where=where, hint=f"give {KINDS}")


def _looks_like_onnx(data: bytes) -> bool:
    """Tell whether bytes parse as a protobuf message with a graph."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        # protobuf's implementations raise different errors
        return False
    return bool(model.HasField("graph"))


def _torch() -> Any:
    """Import what needs torch only where a PyTorch model is given."""
    try:
        from tvm_tiny.importers import from_torch
    except ImportError as error:
        raise MissingExtraError(
            "PyTorch models need the package torch",
            hint="pip install 'tvm_tiny[torch]'",
        ) from error
    return from_torch
