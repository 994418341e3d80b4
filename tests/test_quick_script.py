# mypy: disable-error-code="valid-type,untyped-decorator"
from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import tvm_ffi
from tvm.script import tirx as T
from tvm.script.parser.core import evaluator
from tvm.script.parser.core.parser import Parser

from tests.support.layers import Layer
from tests.support.quick import quick_first
from tvm_tiny.quick_script import Patch, patches, quick_script
from tvm_tiny.schedules import spaces
from tvm_tiny.schedules.dialect import call_of

LAYERS = (
    "conv1x1 4x4x16->8",
    "conv3x3 5x5x8->8",
    "conv3x3s2d2g2 7x6x8->4 linear",
    "dw3x3 5x4x8",
    "fc 32->10",
    "avgpool2x2s2 6x6x4",
    "add 3x3x8",
)
FEATURES = {"plain": (), "dsp": ("dsp",), "mve": ("dsp", "mve")}
MOST = 12  # of a layer's points, which differ by few texts


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """TVM as it is, although all other tests make kernels quickly."""
    for patch in patches():
        monkeypatch.setattr(patch.owner, patch.name, patch.usual)
    yield monkeypatch


def texts(layer: str, features: tuple[str, ...]) -> list[tuple[Any, ...]]:
    points = spaces.points(call_of(Layer.parse(layer).call()), features)
    plain = (point for point in points if not point.options.get("order"))
    made = (point.kernel for point in itertools.islice(plain, MOST))
    return [(k.function.script(), k.microkernels) for k in made if k is not None]


@pytest.mark.usefixtures("usual")
@quick_first("features", FEATURES)
@quick_first("layer", LAYERS)
def test_kernels_are_the_same(layer: str, features: str) -> None:
    slow = texts(layer, FEATURES[features])
    assert slow
    with quick_script():
        for _ in range(2):  # the second time from what was kept
            assert texts(layer, FEATURES[features]) == slow


def everything(size: int, is_even: bool, scale: float) -> Any:
    """What the parser changes in trees, and forms of expressions that kernels have or could have.

    The function for a size: constants 1, 1.0 and True, names bound anew, functions in functions.
    """
    sizes = [size, size + 1]

    @T.prim_func(s_tir=True)
    def function(
        x: T.Buffer(("n", size), "int32"), y: T.Buffer((size,), "float32"), n: T.int32
    ) -> None:
        @T.inline
        def put(row: Any, value: Any) -> None:
            x[row, 0] = value

        total = T.alloc_buffer((1,), "int32")
        total[0] = 1
        for i, j in T.grid(n, size):
            total[0] += x[i, j] * sizes[1] if is_even else x[i, j] + True
            if (i > 0 and not j == 2) or 1 < j <= size - 1:
                put(i, -total[0])
                put(0, sum([x[i, k] for k in range(size)]))
        for i in T.serial(1, size, annotations={"pragma": 1}):
            y[i] = y[i] * T.float32(1.0) + T.float32(scale)
            first, second = sizes[0:2]
            y[0] = T.Cast("float32", first + second)

    return function


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("values", [(4, True, 1.0), (5, False, 0.5)])
def test_all_of_the_language_is_the_same(values: tuple[int, bool, float]) -> None:
    slow = everything(*values)
    with quick_script():
        for _ in range(2):
            quick = everything(*values)
            assert quick.script() == slow.script()
            assert tvm_ffi.structural_equal(quick, slow)


def bad() -> Any:
    @T.prim_func(s_tir=True)
    def function(x: T.Buffer((4,), "int32")) -> None:
        x[0] = x[unknown]  # type: ignore[name-defined] # noqa: F821

    return function


@pytest.mark.usefixtures("usual")
def test_errors_are_the_same() -> None:
    with pytest.raises(Exception, match="unknown") as slow:
        bad()
    with quick_script(), pytest.raises(Exception, match="unknown") as quick:
        bad()
    assert str(quick.value) == str(slow.value)
    assert quick.type is slow.type


def state() -> list[Any]:
    return [getattr(patch.owner, patch.name) for patch in patches()]


@pytest.mark.usefixtures("usual")
def test_nothing_stays_replaced() -> None:
    assert state() == [patch.usual for patch in patches()]
    with pytest.raises(KeyError), quick_script():
        with quick_script():
            pass
        assert state() == [patch.quick for patch in patches()]
        raise KeyError
    assert state() == [patch.usual for patch in patches()]


def names(found: tuple[Patch, ...]) -> set[str]:
    return {patch.name for patch in found}


def test_what_another_tvm_has_not_got_stays(usual: pytest.MonkeyPatch) -> None:
    usual.delattr(evaluator, "_eval_expr")
    usual.setattr(Parser, "with_source_span", lambda self: None)
    left = names(patches.__wrapped__())
    assert names(patches()) - left == {"_eval_expr", "with_source_span"}
    assert len(patches()) == 6
