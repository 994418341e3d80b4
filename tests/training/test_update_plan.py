"""Update plans: what they say of layers, their files, the published ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tvm_tiny
from tests.support.shared import shared_path
from tests.training.nets import published, small
from tvm_tiny.errors import PlanError
from tvm_tiny.relay_passes.separate_trainables import LayerUpdate
from tvm_tiny.schedules.dialect import TensorSpec
from tvm_tiny.training.layers import TrainableLayer, trainable_layers
from tvm_tiny.training.update_plan import LayerPlan, SparseUpdate, published_schemes

NAMES = [
    "stem", "block0_expand", "block0_depthwise", "block0_project",
    "block1_expand", "block1_depthwise", "block1_project", "classifier",
]  # fmt: skip
LAYERS = 7  # before the classifier


def trained(plan: SparseUpdate) -> tuple[list[int], list[int]]:
    """Numbers of the layers before the classifier that train weights, and of those with biases."""
    *body, classifier = plan.resolve(small())
    assert classifier == LayerUpdate("classifier", tuple(range(7)), True)
    weights = [number for number, update in enumerate(body) if update.weight_channels]
    return weights, [number for number, update in enumerate(body) if update.bias]


def test_layers_are_the_convolutions_and_the_classifier_in_order() -> None:
    assert [update.layer for update in SparseUpdate.full().resolve(small())] == NAMES


@pytest.mark.parametrize(
    "plan, weights, biases",
    [
        (SparseUpdate(), [], []),
        (SparseUpdate.last(2), [5, 6], [5, 6]),
        (SparseUpdate.last(0), [], []),
        (SparseUpdate.bias_only(), [], list(range(7))),
        (SparseUpdate.bias_only(3), [], [4, 5, 6]),
        (SparseUpdate.full(), list(range(7)), list(range(7))),
        (SparseUpdate((LayerPlan("stem", 1.0),)), [0], []),
        (SparseUpdate((LayerPlan(3, 0.5, True),)), [3], [3]),
        (SparseUpdate((LayerPlan(6, bias=False),), 2, 2), [5, 6], [5]),
        (SparseUpdate((LayerPlan("block1_project", 0.0),), 2, 2), [5], [5, 6]),
    ],
)
def test_what_is_trained(plan: SparseUpdate, weights: list[int], biases: list[int]) -> None:
    assert trained(plan) == (weights, biases)


def test_full_trains_every_channel() -> None:
    for update, layer in zip(
        SparseUpdate.full().resolve(small()), trainable_layers(small()), strict=True
    ):
        assert update.weight_channels == tuple(range(layer.channels))
    channels = [layer.channels for layer in trainable_layers(small())]
    assert channels == [3, 5, 9, 9, 7, 11, 11, 7]


def layer_with(norms: list[float]) -> TrainableLayer:
    spec = TensorSpec((1, 1, 1, len(norms)), "int8")
    return TrainableLayer("x", "tiny.qconv2d", spec, spec, spec, tuple(norms))


def test_channels_are_those_with_the_largest_weights() -> None:
    layer = layer_with([1.0, 5.0, 3.0, 3.0, 0.0, 4.0, 2.0, 3.0])
    assert layer.largest_channels(1 / 8) == (1,)
    assert layer.largest_channels(1 / 4) == (1, 5)
    assert layer.largest_channels(1 / 2) == (1, 2, 3, 5)  # the first of equal ones
    assert layer.largest_channels(0.01) == (1,)  # at least one
    assert layer.largest_channels(0) == ()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0, 1))
def test_channels_left_out_are_smaller(norms: list[float], share: float) -> None:
    chosen = layer_with(norms).largest_channels(share)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == (max(1, round(share * len(norms))) if share else 0)
    rest = [norm for channel, norm in enumerate(norms) if channel not in chosen]
    assert not rest or not chosen or max(rest) <= min(norms[channel] for channel in chosen)


def test_norms_are_those_of_the_weights_integers() -> None:
    from tests.support.evaluate_tiny import calls
    from tvm_tiny.schedules.dialect import call_of

    weights = [
        call_of(call).arguments[1] for call in calls(small()) if len(call_of(call).arguments) > 2
    ]
    layers = trainable_layers(small())
    expand, depthwise, dense = weights[1], weights[2], weights[-1]
    assert isinstance(expand, np.ndarray) and isinstance(depthwise, np.ndarray)
    assert isinstance(dense, np.ndarray)
    for number, matrix in (
        (1, expand.reshape(-1, 5)),
        (2, depthwise.reshape(-1, 9)),
        (7, dense),
    ):
        expected = np.linalg.norm(matrix.astype(float), axis=0)
        np.testing.assert_allclose(layers[number].channel_norms, expected)


PLANS = [
    SparseUpdate(),
    SparseUpdate.last(3),
    SparseUpdate.full(),
    SparseUpdate.published("mcunet-5fps", "49kb"),
    SparseUpdate((LayerPlan("21", 0.1), LayerPlan(21, 1.0, True), LayerPlan("b", None, False))),
]


@pytest.mark.parametrize("plan", PLANS)
def test_files_hold_the_plan(plan: SparseUpdate, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan.to_file(path)
    assert SparseUpdate.from_file(path) == plan
    assert json.loads(path.read_text()) == json.loads(json.dumps(plan.as_json()))
    assert hash(plan) == hash(SparseUpdate.from_file(path))


HEAD: dict[str, Any] = {"format": "tvm_tiny update plan", "version": 1}
BROKEN_FILES = {
    "missing required field `format`": {},
    "limit tvm_tiny update plan 1, found tvm_tiny update plan 2": HEAD | {"version": 2},
    "unknown field `bias`": HEAD | {"bias": 1},
    "Expected `int . null`, got `str`": HEAD | {"last_biases": "all"},
    "between 0 and 1": HEAD | {"layers": [{"layer": 1, "weights": 1.5}]},
    "numbered from 0": HEAD | {"layers": [{"layer": -1}]},
    "not negative": HEAD | {"last_weights": -1},
    "stands 2 times": HEAD | {"layers": [{"layer": "x"}, {"layer": "x"}]},
}


@pytest.mark.parametrize("message", BROKEN_FILES)
def test_broken_files_are_refused(message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(BROKEN_FILES[message]))
    with pytest.raises(PlanError, match=message) as caught:
        SparseUpdate.from_file(path)
    assert "plan.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(PlanError, match="not an update plan"):
        SparseUpdate.from_file(path)
    with pytest.raises(PlanError, match="not an update plan"):
        SparseUpdate.from_file(tmp_path)


def test_shares_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(PlanError, match="between 0 and 1"):
        LayerPlan("x", float("nan"))


UNFIT = {
    "has no layers of this name": SparseUpdate((LayerPlan("head", 1.0),)),
    "not so many layers": SparseUpdate((LayerPlan(LAYERS, 1.0),)),
    "has no layers of this name before": SparseUpdate((LayerPlan("classifier", 1.0),)),
    "by its name and by its number": SparseUpdate((LayerPlan("stem", 1.0), LayerPlan(0, 1.0))),
    "trains the last 8 layers": SparseUpdate.last(8),
    "limit 7 before the classifier, found 9": replace(SparseUpdate(), last_biases=9),
    "model of another number of layers": SparseUpdate.published("mcunet-5fps", "49kb"),
}


@pytest.mark.parametrize("message", UNFIT)
def test_plans_that_do_not_fit_the_model_are_refused(message: str) -> None:
    with pytest.raises(PlanError, match=message):
        UNFIT[message].resolve(small())


def test_names_that_two_layers_have_are_refused() -> None:
    twins = [layer_with([1.0, 2.0])] * 3
    with pytest.raises(PlanError, match="2 layers of this name"):
        SparseUpdate((LayerPlan("x", 1.0),)).resolve_layers(twins)
    assert len(SparseUpdate.full().resolve_layers(twins)) == 3


def test_modules_without_weights_are_refused() -> None:
    from tvm_tiny import zoo

    with pytest.raises(PlanError, match="no convolution and no dense layer"):
        SparseUpdate.full().resolve(zoo.int8_module(zoo.mobilenet_v2(0.35, 32, classes=2)))


@pytest.mark.parametrize(
    "text, plan",
    [
        ("last:6", SparseUpdate.last(6)),
        ("bias", SparseUpdate.bias_only()),
        ("bias:4", SparseUpdate.bias_only(4)),
        ("full", SparseUpdate.full()),
        ("mcunet-5fps:49kb", SparseUpdate.published("mcunet-5fps", "49kb")),
    ],
)
def test_words_for_plans(text: str, plan: SparseUpdate) -> None:
    assert SparseUpdate.parse(text) == plan


def test_a_file_is_a_word_too(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    SparseUpdate.last(2).to_file(path)
    assert SparseUpdate.parse(str(path)) == SparseUpdate.last(2)


@pytest.mark.parametrize(
    "text, message",
    [
        ("last", "not a plan"),
        ("last:-1", "not a plan"),
        ("bias:x", "not a plan"),
        ("mcunet-5fps:1kb", "no scheme '1kb'"),
        ("nothing", "neither a plan nor a file"),
        ("", "neither a plan nor a file"),
    ],
)
def test_other_words_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        SparseUpdate.parse(text)
    with pytest.raises(PlanError, match="no schemes are published for 'resnet'"):
        SparseUpdate.published("resnet", "49kb")


def test_the_package_offers_plans() -> None:
    assert tvm_tiny.SparseUpdate is SparseUpdate


def test_published_schemes_are_those_of_the_authors() -> None:
    """But shares of zero, which train no weight."""
    text = shared_path("models", "tiny_training", "sparse_update_schemes.json").read_text()
    schemes: dict[str, dict[str, Any]] = json.loads(text)
    ours = published_schemes()
    assert {net: list(found.schemes) for net, found in ours.items()} == {
        net: list(found) for net, found in schemes.items()
    }
    for net, found in schemes.items():
        for name, scheme in found.items():
            pairs = zip(scheme["manual_weight_idx"], scheme["weight_update_ratio"], strict=True)
            plan = SparseUpdate.published(net, name)
            assert {p.layer: p.weights for p in plan.layers} == {n: r for n, r in pairs if r}
            assert (plan.last_biases, plan.last_weights) == (scheme["n_bias_update"], 0)


def test_the_49_kb_scheme_trains_what_its_published_graph_trains() -> None:
    """Four weight gradients with the classifier's, 21 of biases, as wide as there."""
    updates = SparseUpdate.published("mcunet-5fps", "49kb").resolve(published("mcunet-5fps"))
    assert sum(update.bias for update in updates) == 21
    widths = {u.layer: len(u.weight_channels) for u in updates if u.weight_channels}
    assert widths == {
        "block8_expand": 12, "block9_expand": 24, "block10_expand": 24, "classifier": 160,
    }  # fmt: skip
