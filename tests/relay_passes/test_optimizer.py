from __future__ import annotations

from typing import Any

import pytest

from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.optimizer import BY_NAME, Optimizer


def test_names_are_those_of_the_documentation() -> None:
    assert Optimizer.parse("sgd_qas") == Optimizer("sgd", is_scaled=True)
    assert Optimizer.parse("sgd") == Optimizer("sgd", is_scaled=False)
    assert Optimizer.parse("momentum") == Optimizer.parse("sgd_momentum")
    assert not BY_NAME["sgd_momentum_unscaled"].is_scaled


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "rprop"},
        {"momentum": 1.0},
        {"beta1": -0.1},
        {"beta2": float("nan")},
        {"epsilon": 0.0},
    ],
)
def test_what_is_no_optimizer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"optimizer|not"):
        Optimizer(**fields)


def test_unknown_names_are_refused_with_those_known() -> None:
    with pytest.raises(UnsupportedError, match="sgd_qas"):
        Optimizer.parse("rmsprop")
