"""Models for the tests of the command line and of projects: small, so that they build fast."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support import one_operator as one
from tests.support.tflite_writer import Model, Operator, write

DENSE_SHAPE, UNITS = (1, 6), 5


def _two_outputs() -> Model:
    """LOGISTIC and TANH of one input."""
    first = one.unary("LOGISTIC", DENSE_SHAPE)
    second = one.unary("TANH", DENSE_SHAPE)
    source, left = first.tensors
    return Model(
        (source, replace(left, name="y"), replace(second.tensors[1], name="z")),
        (Operator("LOGISTIC", (0,), (1,)), Operator("TANH", (0,), (2,))),
        (0,),
        (1, 2),
    )


MODELS: dict[str, Callable[[], Model]] = {
    "dense": lambda: one.fully_connected(DENSE_SHAPE, UNITS),
    "conv": lambda: one.conv2d((1, 4, 4, 2), 3),
    "add": lambda: one.binary("ADD", DENSE_SHAPE, DENSE_SHAPE),
    "two": _two_outputs,
    "floats": lambda: one.dequantize(DENSE_SHAPE),
    "float_input": lambda: one.quantize(DENSE_SHAPE),
}


def write_models(folder: Path) -> Path:
    """Write every model as <name>.tflite."""
    for name, model in MODELS.items():
        (folder / f"{name}.tflite").write_bytes(write(model()))
    return folder
