"""A kernel that is one call passes its arrays in the order of the C function."""

import numpy as np
import pytest

from tvm_tiny.codegen.c_printer import CPrinter
from tvm_tiny.codegen.lower_kernel import lower_kernel
from tvm_tiny.schedules.dialect import Argument, Overlap, TensorSpec
from tvm_tiny.schedules.runtime_kernel import runtime_kernel

DATA, SCRATCH = TensorSpec((12,), "int8"), TensorSpec((8,), "int16")
TABLE = np.arange(-128, 128, dtype=np.int8)


@pytest.mark.parametrize(
    ("table", "parameters"),
    [
        (TensorSpec((256,), "int8"), ["table", "data", "rate", "scratch", "output"]),
        (TABLE, ["data", "table", "rate", "scratch", "output"]),
    ],
)
def test_parameters_and_arguments(table: Argument, parameters: list[str]) -> None:
    kernel = runtime_kernel(
        "f",
        "tiny_f",
        [("table", table), ("data", DATA)],
        DATA,
        (4, -128),
        constants=[("rate", np.ones(3, np.float32))],
        scratch=SCRATCH,
        overlaps=(None, Overlap(0, is_exact=True)),
    )
    assert [parameter.name for parameter in kernel.function.params] == parameters
    (line,) = CPrinter(lower_kernel(kernel.function)).body()
    assert line.strip() == "tiny_f(table, data, rate, scratch, output, 4, -128);"
    assert kernel.aliased == {1, 4}
