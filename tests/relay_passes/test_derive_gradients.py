"""Gradients of a whole net are those of torch's autograd, and nothing more is derived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.support import torch_oracle
from tests.support.evaluate_tiny import evaluate, operators
from tests.support.training import inputs_of, separated, small_module
from tvm_tiny.relay_passes._straight_line import build
from tvm_tiny.relay_passes.derive_gradients import DeriveGradients
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate, SeparateTrainables
from tvm_tiny.schedules import numerics, qmul
from tvm_tiny.schedules.concat import CONCAT, ConcatAttributes
from tvm_tiny.schedules.dialect import spec_of
from tvm_tiny.schedules.pad import PAD, PadAttributes
from tvm_tiny.schedules.qconv2d import QCONV2D, QConv2DAttributes
from tvm_tiny.schedules.qmean import QMEAN, QMeanAttributes, fold_count
from tvm_tiny.schedules.resize import RESIZE, ResizeAttributes


def constant(array: Any) -> Any:
    return relax.const(np.asarray(array))


FRACTION_BITS = 7  # of models that are not from TensorFlow Lite


def derived(count: int, loss: str = "softmax_cross_entropy") -> tuple[Any, Any]:
    module, states = separated(count, loss)
    return DeriveGradients()(module), states


@pytest.mark.parametrize("count", [1, 4, 9])
def test_gradients_are_those_of_autograd(count: int) -> None:
    module, states = derived(count)
    given = inputs_of(module, states)
    loss, _, *found = evaluate(module, *given)
    expected_loss, expected = torch_oracle.gradients(small_module(), given[0], [1])
    assert loss[0] == pytest.approx(expected_loss, rel=1e-5)
    for state, gradient in zip(states, found, strict=True):
        reference = expected[f"{state.layer}.{state.kind}"].reshape(gradient.shape)
        # torch's is per step of the bias, which counts in parts of a sum's
        reference = reference * (2.0**FRACTION_BITS if state.kind == "bias" else 1.0)
        largest = np.abs(reference).max()
        np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-5 * largest)


def test_mean_squared_error() -> None:
    module, states = derived(3, "mean_squared_error")
    image, _, rate, *weights = inputs_of(module, states)
    target = np.array([[0.5, -1.0, 0.0, 2.0]], np.float32)
    loss, _, *found = evaluate(module, image, target, rate, *weights)
    expected_loss, expected = torch_oracle.gradients(
        small_module(), image, target, "mean_squared_error"
    )
    assert loss[0] == pytest.approx(expected_loss, rel=1e-5)
    reference = expected[f"{states[0].layer}.weight"]
    np.testing.assert_allclose(found[0], reference, rtol=1e-5, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_end_at_the_first_state(count: int) -> None:
    module, _ = derived(count)
    found = operators(module)
    of_inputs = [op for op in found if op.endswith("input_gradient")]
    of_weights = [op for op in found if op.endswith("weight_gradient")]
    assert len(of_weights) == count
    assert len(of_inputs) == count - 1


def linear(depth: int, channels: int, point: int, name: str) -> tuple[Any, list[Any]]:
    """Return attributes and constants of a pointwise convolution."""
    generator = np.random.default_rng(len(name))
    scales: dict[str, Any] = {"input_scale": 0.05, "output_scale": 0.05, "layer": name}
    window: dict[str, Any] = {"strides": (1, 1), "padding": (0,) * 4, "dilation": (1, 1)}
    attrs = QConv2DAttributes(point, 3, -128, 127, **window, **scales)
    weight = generator.integers(-127, 128, (channels, 1, 1, depth)).astype(np.int8)
    bias = generator.integers(-500, 500, channels).astype(np.int32)
    scaling = numerics.quantize_multiplier(np.full(channels, 0.004))
    return attrs, [constant(array) for array in (weight, bias, *scaling)]


Mix = Callable[[Callable[[Any], Any], Any, Any], Any]


def branched_module(mix: Mix, point: int) -> Any:
    """Return x -> mix(conv(x), conv(x)) -> conv -> mean -> logits."""
    x = relax.Var("x", relax.TensorType((1, 4, 4, 3), "int8"))

    def body(builder: relax.BlockBuilder) -> list[Any]:
        branches = []
        for name in ("one", "second"):
            attrs, constants = linear(3, 6, 1, name)
            branches.append(builder.emit(QCONV2D(attrs, x, *constants), name))
        mixed = builder.emit(mix(builder.emit, *branches), "mixed")
        attrs, constants = linear(spec_of(mixed).shape[3], 3, point, "last")
        pixels = builder.emit(QCONV2D(attrs, mixed, *constants), "pixels")
        count = spec_of(pixels).elements // 3
        mean = QMeanAttributes((1, 2), 0, 3, 3, *fold_count(1.0, count))
        return [builder.emit(QMEAN(mean, pixels), "logits")]

    attrs = {"tiny.output_scales": [0.05], "tiny.output_zero_points": [3]}
    return build([x], body, attrs)


def product(emit: Any, a: Any, b: Any) -> Any:
    return qmul.QMUL(qmul.attributes((0.05, 0.05, 0.05), (3, 3, -4)), a, b)


def moves(emit: Any, a: Any, b: Any) -> Any:
    """One branch larger by a border, the other by repeating rows, side by side."""
    padded = emit(PAD(PadAttributes((0, 1, 0, 0), (0, 3, 0, 0), 3), a))
    return CONCAT(ConcatAttributes(3), padded, emit(RESIZE(ResizeAttributes((2, 1)), b)))


@pytest.mark.parametrize(("mix", "point"), [(product, -4), (moves, 3)])
def test_branches_have_gradients(mix: Mix, point: int) -> None:
    module = branched_module(mix, point)
    updates = [LayerUpdate(name, (0, 1, 2), True) for name in ("one", "second")]
    separate = SeparateTrainables(updates)
    derived = DeriveGradients()(separate(module))
    image = np.random.default_rng(1).integers(-128, 128, (1, 4, 4, 3), np.int8)
    given = [image, np.array([2], np.int32), np.zeros(1, np.float32)]
    _, _, *found = evaluate(derived, *given, *(state.initial for state in separate.states))
    _, expected = torch_oracle.gradients(module, image, [2])
    for state, gradient in zip(separate.states, found, strict=True):
        reference = expected[f"{state.layer}.{state.kind}"].reshape(gradient.shape)
        largest = np.abs(reference).max()
        assert largest > 0
        np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-5 * largest)


def test_branches_add_up() -> None:
    module, _ = derived(9)
    assert "add_gradients" in operators(module)
    assert "add" not in operators(module)
