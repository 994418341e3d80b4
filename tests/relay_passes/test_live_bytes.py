"""The most bytes that are live, counted by hand on a small graph."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from tvm_tiny.relay_passes._straight_line import build
from tvm_tiny.relay_passes.live_bytes import live_bytes
from tvm_tiny.schedules.qadd import QADD, attributes
from tvm_tiny.schedules.training.gradients import operator


def test_a_tensor_lives_to_its_last_reader() -> None:
    x = relax.Var("x", relax.TensorType((1, 8, 8, 2), "int8"))
    attrs = attributes((0.1, 0.1, 0.1), (0, 0, 0))

    def body(builder: relax.BlockBuilder) -> list[tvm.ir.Expr]:
        one = builder.emit(QADD(attrs, x, x), "one")
        two = builder.emit(QADD(attrs, one, one), "two")
        return [builder.emit(QADD(attrs, two, x), "three")]

    # x, two and three, or x, one and two
    assert live_bytes(build([x], body, {})) == 3 * 128


def test_views_share_and_states_do_not_count() -> None:
    weight = relax.Var("weight", relax.TensorType((16,), "float32"))
    gradient = relax.Var("gradient", relax.TensorType((4, 4), "float32"))
    rate = relax.Var("rate", relax.TensorType((1,), "float32"))

    def body(builder: relax.BlockBuilder) -> list[tvm.ir.Expr]:
        flat = builder.emit(relax.op.reshape(gradient, (16,)))
        one = relax.const([1.0])
        fields: dict[str, Any] = {"axis": 0, "channels": (), "limit": 127}
        return [builder.emit(operator("sgd_update", weight, flat, rate, one, **fields))]

    module = build([gradient, rate, weight], body, {"tiny.states": ["weight"]})
    assert live_bytes(module) == 64 + 16
