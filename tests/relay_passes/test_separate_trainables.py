"""Trained layers become wide, their weights parameters; nothing that the model says changes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import (
    EVERY,
    inputs_of,
    layers,
    separated,
    small_module,
    updates,
)
from tvm_tiny.errors import UnsupportedError
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate, SeparateTrainables


def test_states_are_weights_and_biases_of_the_plan() -> None:
    module, states = separated(3)
    names = layers(small_module())[-3:]
    assert [(state.layer, state.kind) for state in states] == [
        (name, kind) for name in names for kind in ("weight", "bias")
    ]
    parameters = [parameter.name for parameter in module["main"].params]
    assert parameters == ["image", "label", "rate", *(state.name for state in states)]
    assert states[-2].channels == EVERY
    assert states[-2].initial.ndim == 4


def test_the_model_says_the_same() -> None:
    module, states = separated(5)
    given = inputs_of(module, states)
    _, output = evaluate(module, *given)
    (expected,) = evaluate(small_module(), given[0])
    np.testing.assert_array_equal(output, expected)


def test_only_what_depends_on_states_is_wide() -> None:
    module, _ = separated(2)
    found = operators(module)
    assert found.count("wide_conv2d") == 2
    assert found.count("truncate") == 2
    assert "wide_depthwise_conv2d" not in found
    assert found.index("wide_conv2d") > max(n for n, op in enumerate(found) if op == "qconv2d")


def test_frozen_layers_may_run_as_trained_ones_do() -> None:
    module = small_module()
    chosen = updates(module, 2)
    separated_all = SeparateTrainables(chosen, own_kernels=False)
    separate = SeparateTrainables(chosen)
    one, other = separate(module), separated_all(module)
    found = operators(other)
    assert not {"qconv2d", "qdepthwise_conv2d", "qdense"}.intersection(found)
    assert found.count("wide_conv2d") > 2
    given = inputs_of(one, separate.states)
    for value, same in zip(evaluate(one, *given), evaluate(other, *given), strict=True):
        np.testing.assert_array_equal(value, same)


def test_the_loss_is_of_the_logits() -> None:
    module, states = separated(2)
    given = inputs_of(module, states, label=2)
    loss, output = evaluate(module, *given)
    scale = module["main"].attrs["tiny.output_scales"][1]
    point = module["main"].attrs["tiny.output_zero_points"][1]
    real = float(scale) * (output[0].astype(np.float64) - int(point))
    expected = np.log(np.exp(real).sum()) - real[2]
    assert loss[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (LayerUpdate("nothing", (), True), "no layer of this name"),
        (LayerUpdate("", (), False), "trains nothing"),
    ],
)
def test_plans_that_do_not_fit(update: LayerUpdate, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        SeparateTrainables([update])(small_module())


def test_channels_that_are_not_there() -> None:
    module = small_module()
    update = LayerUpdate(layers(module)[-1], (999,), True)
    with pytest.raises(UnsupportedError, match="channels that the layer does not have"):
        SeparateTrainables([update])(module)


def test_an_unknown_loss() -> None:
    with pytest.raises(UnsupportedError, match="an unknown loss"):
        SeparateTrainables([], "hinge")
