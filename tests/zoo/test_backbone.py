"""Published int8 backbones with a new classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi

from tests.support import evaluate_tiny
from tests.support.shared import shared_path
from tvm_tiny import zoo
from tvm_tiny.errors import ModelError
from tvm_tiny.importers import load
from tvm_tiny.pipeline import compile_module
from tvm_tiny.relay_passes.quantized_to_tiny import QuantizedToTiny
from tvm_tiny.schedules import dialect
from tvm_tiny.targets import host
from tvm_tiny.targets.image import build_host_image

Array = np.ndarray[Any, Any]
LINEAR = ("tiny.qconv2d", "tiny.qdepthwise_conv2d", "tiny.qdense")


def layer(at: str, shape: tuple[int, ...], seed: int, **changes: Any) -> dict[str, Any]:
    """Arrays of a convolution as the published files have them."""
    generator = np.random.default_rng(seed)
    channels = shape[0]
    parts: dict[str, Any] = {
        "stride": np.int64(1),
        "groups": np.int64(1),
        "params/weight": generator.integers(-127, 128, shape, np.int8),
        "params/bias": generator.integers(-900, 900, channels, np.int32),
        "params/w_scales": generator.uniform(0.001, 0.002, channels).astype(np.float32),
        "params/x_scale": np.float64(0.05),
        "params/x_zero": np.int64(3),
        "params/y_scale": np.float64(0.05),
        "params/y_zero": np.int64(3),
    }
    named = {f"{at}/{name}": value for name, value in (parts | changes).items()}
    return {name: np.array(value) for name, value in named.items()}


def small(**changes: Any) -> dict[str, Any]:
    """A stem, a depthwise and a pointwise convolution with a shortcut around both."""
    return {
        **layer("first_conv", (6, 3, 3, 3), 0, stride=np.int64(2)),
        "blocks/0/pointwise1": np.array(None, object),
        **layer("blocks/0/depthwise", (6, 1, 3, 3), 1, groups=np.int64(6)),
        **layer("blocks/0/pointwise2", (6, 6, 1, 1), 2, **{"params/y_scale": np.float64(0.07)}),
        "blocks/0/residual/params/y_scale": np.float64(0.09),
        "blocks/0/residual/params/y_zero": np.int64(-4),
    } | changes


def saved(folder: Path, arrays: dict[str, Array]) -> Path:
    path = folder / "backbone.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def layers(module: tvm.IRModule) -> list[dialect.Call]:
    tiny = QuantizedToTiny()(load(module))
    return [dialect.call_of(call) for call in evaluate_tiny.calls(tiny)]


def constants(call: dialect.Call) -> list[Array]:
    """Weight, bias, multiplier and shift."""
    return [argument for argument in call.arguments if isinstance(argument, np.ndarray)]


def published() -> Path:
    return shared_path("models", "tiny_training", "mcunet-5fps-ptq.npz")


def test_small_backbones_run_exactly(tmp_path: Path) -> None:
    """What object arrays stand for is never unpickled; the C gives the operators' meaning."""
    module = load(zoo.mcunet_5fps(saved(tmp_path, small()), classes=5, resolution=11))
    tiny = QuantizedToTiny()(module)
    assert evaluate_tiny.operators(tiny) == [
        "qconv2d", "qdepthwise_conv2d", "qconv2d", "qadd", "qmean", "qdense",
    ]  # fmt: skip
    program = build_host_image(compile_module(module, "net").code.files, "net", tmp_path)
    for seed in range(3):
        image = np.random.default_rng(seed).integers(-128, 128, (1, 11, 11, 3), np.int8)
        (expected,) = evaluate_tiny.evaluate(tiny, image)
        raw = host.run(program, image.tobytes(), timeout_s=60)
        np.testing.assert_array_equal(np.frombuffer(raw.output_bytes, np.int8), expected[0])
        assert len(np.unique(expected)) > 1


def test_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    arrays = small()
    calls = layers(zoo.mcunet_5fps(saved(tmp_path, arrays), resolution=16))
    weight, bias, *_ = constants(calls[0])
    np.testing.assert_array_equal(weight, arrays["first_conv/params/weight"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(bias, arrays["first_conv/params/bias"])
    depthwise = arrays["blocks/0/depthwise/params/weight"]
    np.testing.assert_array_equal(
        constants(calls[1])[0], depthwise.reshape(6, 3, 3).transpose(1, 2, 0)
    )
    names = [call.attributes.layer for call in calls]
    assert names == [
        "stem", "block0_depthwise", "block0_project", "block0_add", "pool", "classifier",
    ]  # fmt: skip


def test_classifiers_are_seeded(tmp_path: Path) -> None:
    path = saved(tmp_path, small())
    first, same, other = (zoo.mcunet_5fps(path, seed=seed) for seed in (0, 0, 1))
    assert tvm_ffi.structural_equal(first, same)
    assert not tvm_ffi.structural_equal(first, other)


BROKEN: dict[str, dict[str, Any]] = {
    "lacks blocks/0/depthwise/params/bias": {"blocks/0/depthwise/params/bias": None},
    "lacks first_conv/params/weight": {"first_conv/params/weight": None},
    "float32.6, 3, 3, 3., not int8": {"first_conv/params/weight": np.zeros((6, 3, 3, 3), "f4")},
    "has 6 channels": {"first_conv/params/bias": np.zeros(5, np.int32)},
    "window of 2x2": {"first_conv/params/weight": np.ones((6, 3, 2, 2), np.int8)},
    "stride 0": {"first_conv/stride": np.int64(0)},
    "not all positive": {"first_conv/params/w_scales": np.zeros(6, np.float32)},
    "x_zero 200": {"first_conv/params/x_zero": np.int64(200)},
    "x_scale nan": {"first_conv/params/x_scale": np.float64("nan")},
    "block0_project does not take": {"blocks/0/pointwise2/params/x_scale": np.float64(0.5)},
    "shortcut between different": {"blocks/0/depthwise/stride": np.int64(2)},
    "Object arrays cannot be loaded": {"first_conv/params/bias": np.array([None] * 6, object)},
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_files_give_one_error(message: str, tmp_path: Path) -> None:
    arrays = {k: v for k, v in small(**BROKEN[message]).items() if v is not None}
    with pytest.raises(ModelError, match=message) as caught:
        zoo.mcunet_5fps(saved(tmp_path, arrays))
    assert "backbone.npz" in str(caught.value) and "hint" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short", b"\x93NUMPY"])
def test_other_files_give_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "backbone.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an int8 backbone"):
        zoo.mcunet_5fps(path)


def test_missing_files_give_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        zoo.mcunet_5fps(tmp_path / "none.npz")
    arrays = {name: array for name, array in small().items() if name.startswith("first")}
    with pytest.raises(ModelError, match="no blocks"):
        zoo.mcunet_5fps(saved(tmp_path, arrays))
    with pytest.raises(ModelError, match="needs classes"):
        zoo.mcunet_5fps(saved(tmp_path, small()), classes=0)


def test_the_published_net_has_the_published_graph() -> None:
    """43 convolutions with the classifier, 7 additions, one mean: shapes, windows, zero points."""
    graph = json.loads(shared_path("models", "tiny_training", "49kb-int8-graph.json").read_text())
    forward = [node for node in graph[:100] if node["type"] != "nn.mcutruncate"]
    calls = layers(zoo.mcunet_5fps(published()))
    kinds = {name: "nn.mcuconv2d" for name in LINEAR} | {
        "tiny.qadd": "nn.mcuadd", "tiny.qmean": "mcumean",
    }  # fmt: skip
    assert [kinds[call.operator.name] for call in calls] == [node["type"] for node in forward]
    for call, node in zip(calls[:-1], forward, strict=False):
        batch, channels, height, width = node["outputs"][0]["shape"]
        flat = (batch, channels)
        assert call.output.shape in ((batch, height, width, channels), flat)
        if call.operator.name in LINEAR:
            assert call.attributes.as_dict()["padding"] == node["attrs"]["padding"]
            assert call.attributes.as_dict()["strides"] == node["attrs"]["strides"]
    linear = [call for call in calls if call.operator.name in LINEAR]
    assert len(linear) == 43
    assert sum(constants(call)[0].size for call in linear[:-1]) == 463_216
    assert sum(call.macs for call in linear) == 22_455_104
    assert linear[-1].output.shape == (1, 10)


def test_the_published_net_has_the_published_numbers() -> None:
    """Weights, biases, zero points and effective scales of the published training graph."""
    with np.load(shared_path("models", "tiny_training", "mcunet-5fps-train-params.npz")) as file:
        arrays = dict(file)
    calls = layers(zoo.mcunet_5fps(published()))
    names = ["v0", "v1_conv_0", "v1_conv_1"]
    names += [f"v{block}_conv_{part}" for block in range(2, 15) for part in range(3)]
    linear = [call for call in calls if call.operator.name in LINEAR]
    for name, call in zip(names, linear[:-1], strict=True):
        weight, bias, multiplier, shift = constants(call)
        given = arrays[f"{name}_weight"]
        is_depthwise = call.operator.name == "tiny.qdepthwise_conv2d"
        ours = weight[..., None].transpose(2, 3, 0, 1) if is_depthwise else weight
        np.testing.assert_array_equal(ours, given if is_depthwise else given.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(bias, arrays[f"{name}_bias"])
        assert call.attributes.as_dict()["input_zero_point"] == arrays[f"{name}_zero_x"][0]
        assert call.attributes.as_dict()["output_zero_point"] == arrays[f"{name}_zero_y"][0]
        real = multiplier.astype(np.float64) * 2.0 ** (shift.astype(np.float64) - 31)
        np.testing.assert_allclose(real, arrays[f"{name}_scale"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("resolution", [64, 128])
def test_the_published_net_tells_images_apart(resolution: int) -> None:
    tiny = QuantizedToTiny()(load(zoo.mcunet_5fps(published(), resolution=resolution)))
    shape = (1, resolution, resolution, 3)
    images = [np.random.default_rng(seed).integers(-128, 128, shape, np.int8) for seed in (0, 1)]
    first, second = (evaluate_tiny.evaluate(tiny, image)[0] for image in images)
    assert first.shape == (1, 10) and np.any(first != second)
    assert np.all(np.abs(first.astype(int)) < 127)  # room to grow


@pytest.mark.parametrize(
    "name, convolutions, weights",
    [("mbv2-w0.35-r144", 51, 238_688), ("proxyless-w0.3-r176", 60, 320_816)],
)
def test_other_nets_for_training(name: str, convolutions: int, weights: int) -> None:
    """As published: without the last convolution, at 128 x 128, for ten classes."""
    net = zoo.from_config(shared_path("models", "mcunet", f"{name}_imagenet.json")).for_training()
    linear = [c for c in layers(zoo.int8_module(net)) if c.operator.name in LINEAR]
    assert len(linear) == convolutions + 1
    assert sum(constants(call)[0].size for call in linear[:-1]) == weights
    assert linear[0].inputs[0].shape == (1, 128, 128, 3)
    assert linear[-1].output.shape == (1, 10) and linear[-1].attributes.layer == "classifier"
