from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import ir, relax, tirx

from tests.schedules.suite import call_of
from tests.support.shared import REPOSITORY
from tvm_tiny import schedules
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.schedules import dialect, training
from tvm_tiny.schedules.dialect import OPERATORS, TensorSpec
from tvm_tiny.schedules.lookup import LOOKUP, LookupAttributes
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes


def defined_in(folder: Path) -> dict[str, str]:
    """The operators that files of a folder define, and the file's name of each."""
    return {
        name: path.stem
        for path in folder.glob("*.py")
        for name in re.findall(r"\bOperator\(\s*\"(tiny\.\w+)\"", path.read_text())
    }


def test_every_operator_has_a_file_and_a_test_of_its_name() -> None:
    files = defined_in(REPOSITORY / "schedules")
    for name, stem in files.items():
        assert stem == name.removeprefix("tiny.")
        assert stem in schedules.__all__
        assert (REPOSITORY / "tests" / "schedules" / f"test_{stem}.py").exists()
    assert len(files) == len(set(schedules.__all__) - {"training"})


def test_every_operator_of_training_is_in_its_package_and_in_a_test() -> None:
    tests = REPOSITORY / "tests"
    places = [*(tests / "schedules" / "training").glob("*.py"), tests / "support" / "gradients.py"]
    texts = "".join(path.read_text() for path in places)
    files = defined_in(REPOSITORY / "schedules" / "training")
    for name, stem in files.items():
        assert stem in training.__all__
        assert name.removeprefix("tiny.").upper() in texts, name
    assert files.keys() | defined_in(REPOSITORY / "schedules").keys() == OPERATORS.keys()


def test_operators_are_relaxs_too() -> None:
    for name in OPERATORS:
        assert ir.Op.get(name).get_attr("FPurity")


def test_attributes_survive_a_call() -> None:
    attrs = QMeanAttributes((1, 2), 1, -3, 5, 1 << 30, -7, layer="pool")
    call = call_of(QMEAN, attrs, TensorSpec((1, 2, 3, 4), "int8"))
    assert dialect.attributes_of(call) == attrs
    assert dialect.operator_of(call) is QMEAN


def test_other_expressions_are_no_operator() -> None:
    x = relax.Var("x", relax.TensorType([2], "float32"))
    assert dialect.operator_of(x) is None
    assert dialect.operator_of(relax.op.exp(x)) is None


def test_arguments_are_arrays_or_specs() -> None:
    table = np.zeros(256, np.int8)
    call = call_of(LOOKUP, LookupAttributes("zero"), TensorSpec((2, 3), "int8"), table)
    spec, values = dialect.arguments_of(call)
    assert spec == TensorSpec((2, 3), "int8")
    np.testing.assert_array_equal(values, table)


def test_the_builder_infers_types() -> None:
    builder = relax.BlockBuilder()
    attrs = QMeanAttributes((1, 2), 0, -3, 5, 1 << 30, -7)
    kind: Any = builder.normalize(call_of(QMEAN, attrs, TensorSpec((2, 3, 3, 5), "int8"))).ty
    assert ([int(d) for d in kind.shape], str(kind.dtype.dtype)) == ([2, 5], "int8")


def test_shapes_that_are_not_known_are_errors() -> None:
    unknown = relax.Var("x", relax.TensorType(ndim=2, dtype="int8"))
    with pytest.raises(UnsupportedError, match="a tensor of unknown shape"):
        dialect.spec_of(unknown)
    symbolic = relax.Var("x", relax.TensorType([tirx.Var("n", "int64"), 3], "int8"))
    with pytest.raises(UnsupportedError, match="a tensor of symbolic shape"):
        dialect.spec_of(symbolic)


def test_specs_know_their_size() -> None:
    assert TensorSpec((2, 3), "float32").nbytes == 24
    assert TensorSpec((), "int8").elements == 1
