"""Calls, numbers and descriptions of tensors, as they stand in the C."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_tiny.codegen.identifiers import c_comment
from tvm_tiny.relay_passes.program import Tensor
from tvm_tiny.schedules.dialect import TensorSpec

WIDTH = 100
NUMBERS_PER_LINE = {1: 20, 2: 14, 4: 8}  # by their bytes


def call(symbol: str, arguments: list[str]) -> str:
    """A statement, on one line where it has room there."""
    one_line = f"  {symbol}({', '.join(arguments)});"
    if len(one_line) <= WIDTH:
        return one_line
    return f"  {symbol}(\n      " + ",\n      ".join(arguments) + ");"


def numbers(values: np.ndarray[Any, Any]) -> str:
    """What stands between the braces of an array."""
    texts = [str(number) for number in values.reshape(-1).tolist()]
    if values.dtype == np.int32:
        texts = ["INT32_MIN" if text == "-2147483648" else text for text in texts]
    step = NUMBERS_PER_LINE[values.itemsize]
    lines = [", ".join(texts[i : i + step]) for i in range(0, len(texts), step)]
    return ",\n".join(f"  {line}" for line in lines) + ","


def shape_text(spec: TensorSpec) -> str:
    """Extents and dtype."""
    return "x".join(str(extent) for extent in spec.shape) + f" {spec.dtype}"


def tensor_text(tensor: Tensor) -> str:
    """What a comment says of a tensor in the arena."""
    view = "" if tensor.storage == tensor.name else f", a view of {tensor.storage}"
    return c_comment(f"{shape_text(tensor.spec)}, {tensor.spec.nbytes} bytes{view}")


def real_text(scale: float, zero_point: int) -> str:
    """The real number of a quantised one, as people write it."""
    return f"{scale:.9g} * (q {'+' if zero_point < 0 else '-'} {abs(zero_point)})"
