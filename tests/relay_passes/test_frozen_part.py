"""What no state has a say in is a module of its own, which other passes may rewrite."""

from __future__ import annotations

import numpy as np

from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of, separated
from tvm_tiny.pipeline import BY_WEIGHTS
from tvm_tiny.relay_passes.frozen_part import frozen_part, with_frozen_part


def test_it_holds_all_layers_before_the_first_state() -> None:
    module, _ = separated(2)
    part = frozen_part(module)
    assert part is not None
    found = operators(part)
    assert not [name for name in found if name.startswith("wide")]
    assert "qdepthwise_conv2d" in found
    assert len(part["main"].params) == 1


def test_nothing_is_frozen_where_everything_is_trained() -> None:
    module, states = separated(10)
    assert len(states) == 20
    assert frozen_part(module) is None


def test_rewritten_by_weights_it_gives_the_same() -> None:
    module, states = separated(3)
    part = frozen_part(module)
    assert part is not None
    for graph_pass in BY_WEIGHTS:
        part = graph_pass(part)
    given = inputs_of(module, states)
    together = with_frozen_part(module, part)
    for one, other in zip(evaluate(module, *given), evaluate(together, *given), strict=True):
        np.testing.assert_array_equal(one, other)
