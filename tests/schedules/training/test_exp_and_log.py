"""tiny_exp and tiny_log_1p against numpy's in float64, in units in the last place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.kernels import Request, ask, compile_functions
from tvm_tiny.schedules.training.float_steps import LOSS_SOURCES

Array = np.ndarray[Any, Any]
COUNT = 1 << 18
EACH = (
    "for (int32_t i = 0; i < {count}; ++i) {{ ((float *)a[1])[i] = {name}(((float *)a[0])[i]); }}"
)
NAMES = ("tiny_exp", "tiny_log_1p")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bodies = [EACH.format(count=COUNT, name=name) for name in NAMES]
    source = "\n".join(
        f"static void call_{number}(void **a) {{ {body} }}" for number, body in enumerate(bodies)
    )
    folder = tmp_path_factory.mktemp("functions")
    return compile_functions(source, len(NAMES), folder, LOSS_SOURCES)


def run(program: Path, name: str, x: Array) -> Array:
    padded = np.resize(x.astype(np.float32), COUNT)
    (answer,) = ask(program, [Request(NAMES.index(name), [padded], [np.zeros_like(padded)])])
    return np.frombuffer(answer, np.float32)[: len(x)]


def errors(ours: Array, exact: Array) -> Array:
    """Return errors in units in the last place of float32."""
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(ours.astype(np.float64) - exact) / unit


def all_floats_from(low: float, high: float) -> Array:
    """Return floats with equal steps of their bits, of one sign."""
    first, last = (int(np.float32(end).view(np.uint32)) for end in (low, high))
    return np.linspace(first, last, COUNT).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize(
    "x",
    [
        np.linspace(-103.9, 88.7, COUNT, dtype=np.float32),
        np.linspace(-2, 2, COUNT, dtype=np.float32),
        all_floats_from(-1e-30, -103.9),
        all_floats_from(1e-30, 88.7),
    ],
)
def test_exp(program: Path, x: Array) -> None:
    found = errors(run(program, "tiny_exp", x), np.exp(x.astype(np.float64)))
    assert found.max() < 1, x[found.argmax()]


@pytest.mark.parametrize(
    "x",
    [
        all_floats_from(1e-38, 0.41),
        np.linspace(0, 0.41, COUNT, dtype=np.float32),
        all_floats_from(0.41, 3e38),
        np.linspace(0.41, 4, COUNT, dtype=np.float32),
    ],
)
def test_log_1p(program: Path, x: Array) -> None:
    found = errors(run(program, "tiny_log_1p", x), np.log1p(x.astype(np.float64)))
    assert found.max() < 1, x[found.argmax()]


def test_what_is_special(program: Path) -> None:
    x = np.array([0, -0.0, -105, -np.inf, 89, np.inf, np.nan, 3e38], np.float32)
    expected = [1, 1, 0, 0, np.inf, np.inf, np.nan, np.inf]
    np.testing.assert_array_equal(run(program, "tiny_exp", x), np.array(expected, np.float32))
    x = np.array([0, -1e-30, -1, np.inf, np.nan, -np.inf], np.float32)
    expected = [0, np.nan, np.nan, np.inf, np.nan, np.nan]
    np.testing.assert_array_equal(run(program, "tiny_log_1p", x), np.array(expected, np.float32))
